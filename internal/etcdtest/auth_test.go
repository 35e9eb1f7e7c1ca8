package etcdtest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/phpgao/elock/internal/etcdtest"
)

// eachToken runs f with an etcd whose tokens are simple, and with one whose tokens are JWT.
func eachToken(t *testing.T, f func(*testing.T, *etcdtest.AuthServer)) {
	for name, jwt := range map[string]bool{"simple": false, "jwt": true} {
		t.Run(name, func(t *testing.T) {
			f(t, etcdtest.StartAuth(t, etcdtest.AuthConfig{JWT: jwt, TokenTTL: 2 * time.Second}))
		})
	}
}

func TestThePlainUserMayUseOnlyItsPrefixes(t *testing.T) {
	eachToken(t, func(t *testing.T, s *etcdtest.AuthServer) {
		plain, prefix := s.Client(t), s.Prefix(t)
		if _, err := plain.Put(t.Context(), "/"+prefix+"/k", "v"); err != nil {
			t.Errorf("own prefix: %v", err)
		}
		wantRefused(t, plain, "/other/k")
		wantRefused(t, plain, "/"+prefix)
		if _, err := plain.Get(t.Context(), "/", clientv3.WithPrefix()); !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Errorf("all keys: %v", err)
		}
		if _, err := s.Root(t).Put(t.Context(), "/other/k", "v"); err != nil {
			t.Errorf("root: %v", err)
		}
	})
}

func TestGrantsAndPasswordsAndAuthItselfChange(t *testing.T) {
	s := etcdtest.StartAuth(t, etcdtest.AuthConfig{})
	plain := s.Client(t)
	put := func(ctx context.Context) error {
		_, err := plain.Put(ctx, "/some/k", "v")
		return err
	}
	wantRefused(t, plain, "/some/k")
	s.Grant(t, "some")
	eventually(t, put)
	s.Revoke(t, "some")
	wantRefused(t, plain, "/some/k")
	s.Disable(t)
	eventually(t, put)
	s.Enable(t)
	wantRefused(t, plain, "/some/k")

	s.SetPassword(t, "another secret")
	s.Grant(t, "some")
	if _, err := s.Client(t).Put(t.Context(), "/some/k", "v"); err != nil {
		t.Errorf("a client with the new password: %v", err)
	}
	old, err := clientv3.New(clientv3.Config{
		Endpoints: s.Endpoints(), Username: "app", Password: "app's secret", Logger: zap.NewNop(),
	})
	if err == nil {
		old.Close()
		t.Error("the old password is good")
	}
}

func TestTokensDieAfterTheirTime(t *testing.T) {
	eachToken(t, func(t *testing.T, s *etcdtest.AuthServer) {
		plain, prefix := s.Client(t), s.Prefix(t)
		get := func() {
			if _, err := plain.Get(t.Context(), "/"+prefix+"/k"); err != nil {
				t.Error(err)
			}
		}
		get()
		before := s.Logins(t)
		get()
		if n := s.Logins(t); n != before {
			t.Errorf("%d logins while the token lives", n-before)
		}
		eventually(t, func(context.Context) error {
			time.Sleep(3 * time.Second) // nothing shows that an unused token has died
			get()
			if s.Logins(t) == before {
				return errors.New("no login")
			}
			return nil
		})
	})
}

func TestAMemberWithAuthIsRestarted(t *testing.T) {
	s := etcdtest.StartAuth(t, etcdtest.AuthConfig{Members: 3})
	plain, prefix := s.Client(t), s.Prefix(t)
	s.Leader(t).Restart(t)
	eventually(t, func(ctx context.Context) error {
		_, err := plain.Put(ctx, "/"+prefix+"/k", "v")
		return err
	})
}

func TestAProxyLetsTheSameUserThrough(t *testing.T) {
	s := etcdtest.StartAuth(t, etcdtest.AuthConfig{})
	plain, prefix := etcdtest.Proxy(t, s.Endpoints()[0]).Client(t), s.Prefix(t)
	if _, err := plain.Put(t.Context(), "/"+prefix+"/k", "v"); err != nil {
		t.Error(err)
	}
	wantRefused(t, plain, "/other/k")
}

func TestFlagAuthMakesEveryClientThePlainUser(t *testing.T) {
	if !inner(t, "ELOCK_AUTH=1") {
		return
	}
	for name, s := range map[string]*etcdtest.Server{
		"shared":  etcdtest.Start(t),
		"own":     etcdtest.StartOwn(t).Server,
		"cluster": etcdtest.StartCluster(t, 3).Server,
	} {
		plain, prefix := s.Client(t), s.Prefix(t)
		if _, err := plain.Put(t.Context(), "/"+prefix+"/k", "v"); err != nil {
			t.Errorf("%s: own prefix: %v", name, err)
		}
		wantRefused(t, plain, "/other/k")
	}
	example, err := etcdtest.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer example.Close()
	if _, err := example.Put(t.Context(), "/k", "v"); err != nil {
		t.Errorf("an example: %v", err)
	}
	if _, err := example.Delete(t.Context(), "/k"); err != nil {
		t.Errorf("an example: %v", err)
	}
}

func wantRefused(t *testing.T, c *clientv3.Client, key string) {
	t.Helper()
	if _, err := c.Put(t.Context(), key, "v"); !errors.Is(err, rpctypes.ErrPermissionDenied) {
		t.Errorf("%s: %v, want it refused", key, err)
	}
}
