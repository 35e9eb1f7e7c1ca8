package inspect

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/place"
	"github.com/phpgao/elock/internal/proctest"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

var key = keyspace.MustParse("lock")

const dir = "/elock/lock/"

// A bed is an Inspector of an etcd in memory, in virtual time.
type bed struct {
	*Inspector
	t     *testing.T
	sim   *etcdsim.Sim
	mine  *etcdsim.Client
	other *etcdsim.Client
	lease clientv3.LeaseID
	fate  func(request string) etcdsim.Fate // of the Inspector's calls
}

func inBed(t *testing.T, f func(t *testing.T, b *bed)) {
	b := &bed{fate: func(string) (fate etcdsim.Fate) { return fate }}
	plan := func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate { return b.fate(fmt.Sprint(call.Request)) }
	proctest.Run(t, plan, func(t *testing.T, p *proctest.Process) {
		b.t, b.sim, b.mine = t, p.Sim, p.Mine
		b.other, b.lease = p.Other, proctest.Must(p.Other.Grant(t.Context(), 1000)).ID
		b.Inspector = &Inspector{Etcd: p.Etcd, Feeds: p.Feeds, Prefix: "elock", Queues: queue.NewSet(queue.Config{
			Config: place.Config{Etcd: p.Etcd, Batch: p.Batch, Base: p.Base, Spawn: p.Spawn},
		})}
		f(t, b)
	})
}

func (b *bed) put(name, value string, lease clientv3.LeaseID) {
	b.t.Helper()
	if _, err := b.other.Put(b.t.Context(), dir+name, value, clientv3.WithLease(lease)); err != nil {
		b.t.Fatal(err)
	}
}

func text(owner string) string {
	return string(record.Record{Version: record.Version, Owner: owner, Mode: record.Exclusive}.Encode())
}

// wants wants the queue to have entries of those names, and returns them.
func (b *bed) wants(names string) []*mvccpb.KeyValue {
	b.t.Helper()
	all, _, err := b.Entries(b.t.Context(), key)
	var got []string
	for _, kv := range all {
		got = append(got, strings.TrimPrefix(string(kv.Key), dir))
	}
	if strings.Join(got, " ") != names || err != nil {
		b.t.Fatalf("entries %v, want %s, err %v", got, names, err)
	}
	return all
}

func TestAQueueHasItsEntriesInTheirOrder(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.wants("")
		b.put("z", text("z"), b.lease)
		b.put("left behind", "hand", 0)
		b.put("a", "foreign", b.lease)
		if _, err := b.other.Put(t.Context(), "/elock/locker/b", "of another lock", clientv3.WithLease(b.lease)); err != nil {
			t.Fatal(err)
		}
		b.wants("z a")
		lost := false
		b.fate = func(string) (fate etcdsim.Fate) {
			if !lost {
				lost = true
				fate.Lose = etcdsim.Answer
			}
			return fate
		}
		b.wants("z a")
	})
}

// evictions evicts an entry, and returns the last values of the keys that were deleted, oldest first.
func (b *bed) evict(entry *mvccpb.KeyValue) (gone bool, last []*mvccpb.KeyValue, err error) {
	ctx, cancel := context.WithCancel(b.t.Context())
	defer cancel()
	watch := b.other.Watch(ctx, dir, clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithFilterPut())
	synctest.Wait()
	gone, err = b.Evict(b.t.Context(), key, entry)
	synctest.Wait()
	for {
		select {
		case resp := <-watch:
			for _, ev := range resp.Events {
				last = append(last, ev.PrevKv)
			}
		default:
			return gone, last, err
		}
	}
}

func TestAnEvictionIsWrittenIntoTheRecordFirst(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.put("a", text("a"), b.lease)
		b.put("b", "foreign", b.lease)
		all := b.wants("a b")
		gone, last, err := b.evict(all[0])
		if !gone || err != nil || len(last) != 1 || !record.Evicted(last[0]) || last[0].Lease != int64(b.lease) {
			t.Errorf("%v, %v, last %v", gone, err, last)
		}
		b.wants("b")
		if gone, last, err := b.evict(all[1]); !gone || err != nil || len(last) != 1 || string(last[0].Value) != "foreign" {
			t.Errorf("of a foreign one: %v, %v, last %v", gone, err, last)
		}
		if gone, _, err := b.evict(all[1]); gone || err != nil {
			t.Errorf("of one that is gone: %v, %v", gone, err)
		}
	})
}

func TestAnEvictionTakesNothingFromWhoCameAfter(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.put("a", text("a"), b.lease)
		old := b.wants("a")[0]
		if _, err := b.other.Delete(t.Context(), dir+"a"); err != nil {
			t.Fatal(err)
		}
		b.put("a", text("young"), b.lease)
		if gone, err := b.Evict(t.Context(), key, old); gone || err != nil {
			t.Error(gone, err)
		}
		if young := b.wants("a")[0]; record.Evicted(young) {
			t.Error("the younger entry is marked")
		}
	})
}

func TestWithoutSpaceAnEntryIsDeletedAllTheSame(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.put("a", text("a"), b.lease)
		b.fate = func(request string) (fate etcdsim.Fate) {
			if strings.Contains(request, "request_put") {
				fate.Refuse = rpctypes.ErrGRPCNoSpace
			}
			return fate
		}
		if gone, err := b.Evict(t.Context(), key, b.wants("a")[0]); !gone || err != nil {
			t.Error(gone, err)
		}
		b.wants("")
	})
}

func TestAnEvictionThatIsRefusedOrNotAnsweredFails(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.put("a", text("a"), b.lease)
		entry := b.wants("a")[0]
		b.fate = func(string) etcdsim.Fate { return etcdsim.Fate{Refuse: rpctypes.ErrGRPCPermissionDenied} }
		if gone, err := b.Evict(t.Context(), key, entry); gone || !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Error(gone, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		b.fate = func(string) etcdsim.Fate { return etcdsim.Fate{Lose: etcdsim.Request, Hang: true} }
		if gone, err := b.Evict(ctx, key, entry); gone || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(gone, err)
		}
	})
}

// The deletion was carried out, and its answer is lost; the second finds nothing.
func TestALostAnswerOfAnEvictionIsAnEviction(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.put("a", text("a"), b.lease)
		entry := b.wants("a")[0]
		n := 0
		b.fate = func(string) (fate etcdsim.Fate) {
			if n++; n == 2 {
				fate.Lose = etcdsim.Answer
			}
			return fate
		}
		if gone, err := b.Evict(t.Context(), key, entry); !gone || err != nil {
			t.Error(gone, err)
		}
		b.wants("")
	})
}
