package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/record"
)

// A following is a Follow on its way, and what it has told.
type following struct {
	b      *bed
	cancel context.CancelFunc
	done   chan error
	limit  int // it has enough after so many
	told   []string
	revs   []int64
}

func (b *bed) follow(limit int) *following {
	ctx, cancel := context.WithCancel(b.t.Context())
	f := &following{b: b, cancel: cancel, done: make(chan error, 1), limit: limit}
	go func() {
		f.done <- b.Follow(ctx, key, func(entries []*mvccpb.KeyValue, rev int64) bool {
			var names []string
			for _, kv := range entries {
				name := strings.TrimPrefix(string(kv.Key), dir)
				if r, ok := record.Parse(kv.Value); ok && r.Announcement() != "" {
					name += "=" + r.Announcement()
				}
				names = append(names, name)
			}
			f.told, f.revs = append(f.told, strings.Join(names, " ")), append(f.revs, rev)
			return len(f.told) < f.limit
		})
	}()
	synctest.Wait()
	return f
}

// wants wants all that was told to be that, in order, at revisions that grow.
func (f *following) wants(told ...string) {
	f.b.t.Helper()
	time.Sleep(3 * time.Second) // pauses end
	synctest.Wait()
	if !slices.Equal(f.told, told) || !slices.IsSorted(f.revs) || len(slices.Compact(slices.Clone(f.revs))) != len(f.revs) {
		f.b.t.Fatalf("told %q at %v, want %q", f.told, f.revs, told)
	}
}

func (f *following) ends(want error) {
	f.b.t.Helper()
	if err := <-f.done; !errors.Is(err, want) || (err == nil) != (want == nil) {
		f.b.t.Errorf("Follow returned %v, want %v", err, want)
	}
	f.cancel()
}

func (b *bed) delete(name string) {
	if _, err := b.other.Delete(b.t.Context(), dir+name); err != nil {
		b.t.Error(err)
	}
}

// announce puts the entry of a name again.
func (b *bed) announce(name, announcement string) {
	r := record.Record{Version: record.Version, Owner: name, Mode: record.Exclusive}
	r.Announce(announcement)
	b.put(name, string(r.Encode()), b.lease)
}

func TestAQueueIsFollowedAtOnceAndAtEachChange(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.put("z", text("z"), b.lease)
		f := b.follow(100)
		f.wants("z")
		b.announce("z", "news")
		b.put("by hand", "no entry", 0)
		b.put("a", "foreign", b.lease)
		if _, err := b.other.Put(t.Context(), "/elock/locker/b", "of another lock", clientv3.WithLease(b.lease)); err != nil {
			t.Fatal(err)
		}
		b.delete("by hand")
		b.delete("z")
		b.put("a", "without a lease", 0)
		f.wants("z", "z=news", "z=news a", "a", "")
		f.cancel()
		f.ends(context.Canceled)
	})
}

func TestAFollowerHasEnoughWhenItSaysSo(t *testing.T) {
	for n := range 3 {
		inBed(t, func(t *testing.T, b *bed) {
			f := b.follow(n + 1)
			for i := range 3 {
				b.put(fmt.Sprint(i), text("x"), b.lease)
			}
			f.ends(nil)
			f.wants([]string{"", "0", "0 1"}[:n+1]...)
		})
	}
}

func TestOneTransactionIsToldOnce(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.put("a", text("a"), b.lease)
		f := b.follow(100)
		put := func(name string) clientv3.Op {
			return clientv3.OpPut(dir+name, text(name), clientv3.WithLease(b.lease))
		}
		if _, err := b.other.Txn(t.Context()).Then(clientv3.OpDelete(dir+"a"), put("b")).Commit(); err != nil {
			t.Fatal(err)
		}
		f.wants("a", "b")
		f.cancel()
		f.ends(context.Canceled)
	})
}

func TestTheMarkOfAnEvictionIsNoChange(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.put("a", text("a"), b.lease)
		f := b.follow(100)
		if gone, err := b.EvictHolders(t.Context(), key); !gone || err != nil {
			t.Fatal(gone, err)
		}
		f.wants("a", "")
		f.cancel()
		f.ends(context.Canceled)
	})
}

func TestNothingIsMissedWhileWatchesBreakAndAreRenewed(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		f := b.follow(100)
		f.wants("")
		var want []string
		for i := range 20 {
			switch i % 4 {
			case 0:
				b.sim.BreakWatches()
			case 1:
				b.sim.LoseLeader(time.Second)
			case 2:
				time.Sleep(40 * time.Second) // longer than a watch
			}
			time.Sleep(2 * time.Second)
			b.sim.BreakWatches()
			b.put("a", text("a"), b.lease) // comes and goes while no watch is in place
			b.delete("a")
			want = append(want, "", "a")
		}
		f.wants(append(want, "")...)
		f.cancel()
		f.ends(context.Canceled)
	})
}

func TestWhatIsCompactedIsLeftOutAndTheRestTold(t *testing.T) {
	for _, stays := range []bool{true, false} {
		inBed(t, func(t *testing.T, b *bed) {
			b.put("a", text("a"), b.lease)
			f := b.follow(100)
			f.wants("a")
			b.mine.Partition()
			b.put("b", text("b"), b.lease)
			if !stays {
				b.put("c", text("c"), b.lease)
			}
			b.delete("b")
			b.sim.Compact()
			b.mine.BreakStreams() // first: what is on its way would arrive
			b.mine.Heal()
			time.Sleep(time.Minute)
			b.put("d", text("d"), b.lease)
			if stays { // the queue is what it was
				f.wants("a", "a d")
			} else {
				f.wants("a", "a c", "a c d")
			}
			f.cancel()
			f.ends(context.Canceled)
		})
	}
}

func TestAFollowerEndsWhenEtcdRefuses(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.fate = func(string) etcdsim.Fate { return etcdsim.Fate{Refuse: rpctypes.ErrGRPCPermissionDenied} }
		b.follow(100).ends(rpctypes.ErrPermissionDenied)
	})
}
