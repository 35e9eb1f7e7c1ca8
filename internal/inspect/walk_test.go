package inspect

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/keyspace"
)

// at puts a key of etcd, wherever it lies.
func (b *bed) at(path, value string, lease clientv3.LeaseID) {
	b.t.Helper()
	if _, err := b.other.Put(b.t.Context(), path, value, clientv3.WithLease(lease)); err != nil {
		b.t.Fatal(err)
	}
}

// walked returns what a Walk with pages of so many keys finds: the locks, each with the last parts of its entries.
func (b *bed) walked(under keyspace.Key, keys int64) (all []string) {
	b.t.Helper()
	w := b.Walk(under)
	w.keys = keys
	pages := 0
	for more := true; more; pages++ {
		if pages > 1000 {
			b.t.Fatal("the walk has no end")
		}
		var queues []Queue
		var err error
		if queues, more, err = w.Next(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
		for _, q := range queues {
			all = append(all, shown(q))
		}
	}
	return all
}

func shown(q Queue) string {
	text := q.Key.String() + ":"
	for _, kv := range q.Entries {
		text += " " + string(kv.Key[strings.LastIndexByte(string(kv.Key), '/')+1:])
	}
	return text
}

func (b *bed) wantWalked(under string, want ...string) {
	b.t.Helper()
	var k keyspace.Key
	if under != "" {
		k = keyspace.MustParse(under)
	}
	for _, keys := range []int64{1, 2, 3, 4, 5, 100} {
		if got := b.walked(k, keys); !slices.Equal(got, want) {
			b.t.Errorf("below %q, in pages of %d: got %q, want %q", under, keys, got, want)
		}
	}
}

func TestAWalkFindsEachQueueOnceAndWholeWhereverPagesEnd(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.wantWalked("")
		for _, name := range []string{"c", "a", "b"} {
			b.at("/elock/one/"+name, text(name), b.lease)
			b.at("/elock/space:/one/"+name, text(name), b.lease)
		}
		b.at("/elock/space:/deep:/one/x", text("x"), b.lease)
		b.at("/elock/spaces/x", text("x"), b.lease)
		b.at("/elock/space/x", "", b.lease)
		b.at("/elocker/one/x", text("x"), b.lease)
		b.at("/elock:/one/two/x", text("x"), b.lease) // of the prefix elock/one
		b.wantWalked("", "one: c a b", "space: x", "space/deep/one: x", "space/one: c a b", "spaces: x")
		b.wantWalked("space", "space/deep/one: x", "space/one: c a b")
		b.wantWalked("space/deep", "space/deep/one: x")
		b.wantWalked("spac")
		b.wantWalked("one")
	})
}

func TestAWalkSkipsWhatIsNoLock(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		for _, path := range []string{
			"value", "space:/value", "space:/job%once", "space:/job%once/x", // x would be in a lock, but no name is written so
			"%/x", "space:/%zz/x", "a%2Fb/x", "a%41/x", "/x", "a:b/x", "\x01/x", "\xff/x",
		} {
			b.at("/elock/"+path, "foreign", b.lease)
		}
		b.at("/elock/free/left behind", "hand", 0)
		b.at("/elock/held/left behind", "hand", 0)
		b.at("/elock/held/x", text("x"), b.lease)
		b.at("/elock/100%25/%/x", text("x"), b.lease) // of a mutex on "/elock/100%25/%"
		b.at("/elock/z/", "", b.lease)
		b.wantWalked("", "100%: x", "held: x", "z: ")
	})
}

// What lies between queues may be large: it is not read.
func TestAWalkReadsNoValuesOfOthers(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		var want []string
		for i := range maxReads + 5 {
			b.at(fmt.Sprintf("/elock/space:/%03d", i), "a value", 0)
			b.at(fmt.Sprintf("/elock/space:/%03d/x", i), text("x"), b.lease)
			want = append(want, fmt.Sprintf("space/%03d: x", i))
		}
		most := 0
		b.fate = func(request string) (fate etcdsim.Fate) {
			if most = max(most, strings.Count(request, "request_range")); strings.Contains(request, "limit") != strings.Contains(request, "keys_only") {
				t.Errorf("a page with values: %s", request)
			}
			return fate
		}
		b.wantWalked("", want...)
		if got := b.walked(keyspace.Key{}, 1000); !slices.Equal(got, want) || most != maxReads {
			t.Errorf("up to %d reads in a transaction, got %q", most, got)
		}
		w := b.Walk(keyspace.Key{})
		names, _, err := w.names(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, read := range w.entries(names) {
			if name := fmt.Sprintf("/elock/space:/%03d/x", i); string(read.KeyBytes()) != name || string(read.RangeBytes()) != name+"\x00" {
				t.Errorf("read %d is from %q to %q", i, read.KeyBytes(), read.RangeBytes())
			}
		}
	})
}

func TestAWalkIsAtOneRevision(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		var want []string
		for i := range 10 {
			b.at(fmt.Sprintf("/elock/%d/old", i), text("old"), b.lease)
			want = append(want, fmt.Sprintf("%d: old", i))
		}
		calls := 0
		b.fate = func(string) (fate etcdsim.Fate) {
			if calls++; calls == 1 {
				return fate
			}
			for i := range 10 { // all pass on, others come
				b.at(fmt.Sprintf("/elock/%d/new", i), text("new"), b.lease)
				if _, err := b.other.Delete(context.Background(), fmt.Sprintf("/elock/%d/old", i)); err != nil {
					t.Error(err)
				}
				b.at(fmt.Sprintf("/elock/%d-%d/new", i, calls), text("new"), b.lease)
			}
			return fate
		}
		if got := b.walked(keyspace.Key{}, 3); !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
	})
}

func TestAWalkGoesOnAfterALostAnswer(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		var want []string
		for i := range 10 {
			b.at(fmt.Sprintf("/elock/%d/x", i), text("x"), b.lease)
			want = append(want, fmt.Sprintf("%d: x", i))
		}
		dice := rand.New(rand.NewPCG(1, 1))
		b.fate = func(string) (fate etcdsim.Fate) {
			fate.Lose = []etcdsim.Loss{0, etcdsim.Request, etcdsim.Answer}[dice.IntN(3)]
			return fate
		}
		b.wantWalked("", want...)
	})
}

func TestAWalkEndsWithACompactionARefusalAndItsContext(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		for i := range 10 {
			b.at(fmt.Sprintf("/elock/%d/x", i), text("x"), b.lease)
		}
		w := b.Walk(keyspace.Key{})
		w.keys = 3
		if queues, more, err := w.Next(t.Context()); len(queues) != 2 || !more || err != nil {
			t.Errorf("%v, %v, %v", queues, more, err)
		}
		b.at("/elock/later/x", text("x"), b.lease)
		b.sim.Compact()
		if queues, more, err := w.Next(t.Context()); queues != nil || more || !errors.Is(err, rpctypes.ErrCompacted) {
			t.Errorf("after a compaction: %v, %v, %v", queues, more, err)
		}
		b.fate = func(string) etcdsim.Fate { return etcdsim.Fate{Refuse: rpctypes.ErrGRPCPermissionDenied} }
		if queues, more, err := b.Walk(keyspace.Key{}).Next(t.Context()); queues != nil || more || !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Errorf("%v, %v, %v", queues, more, err)
		}
		b.fate = func(string) etcdsim.Fate { return etcdsim.Fate{Lose: etcdsim.Request, Hang: true} }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if queues, more, err := b.Walk(keyspace.Key{}).Next(ctx); queues != nil || more || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, %v, %v", queues, more, err)
		}
	})
}

func TestEveryNameIsReadBackFromItsPath(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, err := keyspace.Parse(rapid.String().Draw(t, "name"))
		if err != nil {
			t.Skip()
		}
		i := &Inspector{Prefix: rapid.String().Draw(t, "prefix")}
		w := i.Walk(keyspace.Key{})
		dir := key.Path(i.Prefix)
		entry := dir + rapid.String().Draw(t, "entry")
		if got := w.dirOf([]byte(entry)); got != dir {
			t.Fatalf("directory of %q: got %q, want %q", entry, got, dir)
		}
		if got, ok := w.keyOf(dir); !ok || got != key {
			t.Fatalf("got %q, want %q", got, key)
		}
		if value := key.ValuePath(i.Prefix); w.dirOf([]byte(value)) != "" {
			t.Fatalf("the value %q is in a lock", value)
		}
	})
}
