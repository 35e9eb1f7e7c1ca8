package etcdtest_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/phpgao/elock/internal/etcdtest"
)

func TestTheSharedServerServes(t *testing.T) {
	server := etcdtest.Start(t)
	if _, err := server.Client(t).Put(t.Context(), "/"+server.Prefix(t)+"/k", "v"); err != nil {
		t.Fatal(err)
	}
}

func TestTheSharedServerIsOneForAllTests(t *testing.T) {
	first, second := etcdtest.Start(t), etcdtest.Start(t)
	if first != second {
		t.Error("two servers")
	}
}

func TestADialledClientIsOfTheSharedServerInASpaceOfItsOwn(t *testing.T) {
	server := etcdtest.Start(t)
	for range 2 {
		client, err := etcdtest.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if !slices.Equal(client.Endpoints(), server.Endpoints()) {
			t.Errorf("endpoints %v, want %v", client.Endpoints(), server.Endpoints())
		}
		resp, err := client.Get(t.Context(), "/k")
		if err != nil {
			t.Fatal(err)
		}
		if resp.Count != 0 {
			t.Error("two clients share their keys")
		}
		if _, err := client.Put(t.Context(), "/k", "v"); err != nil {
			t.Fatal(err)
		}
		defer client.Delete(context.Background(), "/k")
	}
	if n := count(t, server, "/k"); n != 0 {
		t.Error("the key is outside of the client's space")
	}
}

func TestTheEnvironmentNamesTheSharedServer(t *testing.T) {
	own := etcdtest.StartOwn(t)
	run := again(t, "", "-test.run=^TestTheSharedServerServes$", "-test.count=1")
	run.Env = append(run.Env, "ELOCK_TEST_ENDPOINTS="+own.Endpoint())
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	resp, err := own.Client(t).Get(t.Context(), "/k")
	if err != nil {
		t.Fatal(err)
	}
	if fresh := int64(1); resp.Header.Revision == fresh {
		t.Error("nothing was written to the named server")
	}
}

func TestKeysOfATestGoWithIt(t *testing.T) {
	server := etcdtest.Start(t)
	var keys []string
	t.Run("a/test of% its own", func(t *testing.T) {
		prefix := server.Prefix(t)
		if strings.ContainsAny(prefix, "/:% ") || prefix == server.Prefix(t) {
			t.Errorf("bad prefix %q", prefix)
		}
		keys = []string{"/" + prefix + "/k", "/" + prefix + ":/k"}
		client := server.Client(t)
		for _, key := range keys {
			if _, err := client.Put(t.Context(), key, "v"); err != nil {
				t.Fatal(err)
			}
		}
	})
	for _, key := range keys {
		if n := count(t, server, key); n != 0 {
			t.Errorf("%s is left", key)
		}
	}
}

func TestALeakedGoroutineFailsThePackage(t *testing.T) {
	const leak = "leak"
	if os.Getenv(roleVar) == leak {
		go func() { select {} }()
		return
	}
	out, err := again(t, leak, "-test.run=^TestALeakedGoroutineFailsThePackage$", "-test.count=1").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "goroutines left over") {
		t.Errorf("%v\n%s", err, out)
	}
}

// count is the number of keys at key: 0 or 1.
func count(t *testing.T, server *etcdtest.Server, key string) int64 {
	t.Helper()
	resp, err := server.Client(t).Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Count
}
