package losswatch

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"math/rand/v2"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/feed"
)

const root = "/all/"

// A bed is a Watcher on an etcd in memory, in virtual time.
type bed struct {
	*Watcher
	sim        *etcdsim.Sim
	mine       *etcdsim.Client // the Watcher's
	other      *etcdsim.Client
	lease      clientv3.LeaseID
	goroutines sync.WaitGroup
	log        bytes.Buffer

	mu      sync.Mutex
	running int
	entries map[string]Entry
	since   map[string]time.Time
	again   map[string]string    // what Put said
	lost    map[string]time.Time // when Events or Missing said so
	reads   int                  // transactions
	gets    int                  // keys in them
	most    int                  // in one
	creates int                  // watches that were asked for
	refuse  func(method string) error

	forbidden string // the key that may be neither read nor watched
}

// inBeds runs f on Watchers with and without a stream of their own.
func inBeds(t *testing.T, f func(t *testing.T, b *bed)) {
	t.Run("one stream", func(t *testing.T) { inBed(t, true, f) })
	t.Run("by way of the feeds", func(t *testing.T) { inBed(t, false, f) })
}

func inBed(t *testing.T, stream bool, f func(t *testing.T, b *bed)) {
	synctest.Test(t, func(t *testing.T) {
		sim := etcdsim.New(1)
		defer sim.Close()
		b := &bed{sim: sim, mine: sim.NewClient("mine"), other: sim.NewClient("other"),
			entries: map[string]Entry{}, since: map[string]time.Time{}, again: map[string]string{}, lost: map[string]time.Time{}}
		b.mine.SetPlan(b.plan)
		grant, err := b.other.Grant(t.Context(), 100_000)
		if err != nil {
			t.Fatal(err)
		}
		b.lease = grant.ID
		base, end := context.WithCancel(context.Background())
		spawn := func(f func()) bool {
			if base.Err() != nil {
				return false
			}
			b.set(func() { b.running++ })
			b.goroutines.Go(func() {
				defer b.set(func() { b.running-- })
				f()
			})
			return true
		}
		cfg := Config{
			Base: base, Spawn: spawn, Root: root,
			Hub:     feed.NewHub(feed.Config{Watcher: b.mine.Watcher, Base: base, Spawn: spawn}),
			Read:    b.read,
			Entries: b.each, Events: b.events, Put: b.putAgain, Missing: b.missing,
			Log: slog.New(slog.NewTextHandler(&b.log, nil)), Owner: "test",
		}
		if stream {
			cfg.Stream = b.mine.WatchStream
		}
		b.Watcher = New(cfg)
		spawn(b.Run)
		f(t, b)
		end()
		b.goroutines.Wait()
	})
}

func (b *bed) putAgain(kvs []*mvccpb.KeyValue) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, kv := range kvs {
		b.again[string(kv.Key)] = string(kv.Value)
	}
}

func (b *bed) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

// plan counts what the Watcher sends, and refuses what it is told to.
func (b *bed) plan(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
	b.mu.Lock()
	defer b.mu.Unlock()
	fate := etcdsim.Fate{Send: time.Millisecond, Reply: time.Millisecond}
	switch r := call.Request.(type) {
	case *pb.TxnRequest:
		b.reads++
		b.gets += len(r.Success)
		b.most = max(b.most, len(r.Success))
	case *pb.WatchRequest:
		if r.GetCreateRequest() != nil {
			b.creates++
		}
	}
	if b.refuse != nil && call.Request != nil {
		fate.Refuse = b.refuse(call.Method)
	}
	if b.forbidden != "" && call.Request != nil && strings.Contains(fmt.Sprint(call.Request), b.forbidden) {
		fate.Refuse = rpctypes.ErrGRPCPermissionDenied
	}
	return fate
}

func (b *bed) read(ctx context.Context, ops ...clientv3.Op) (*clientv3.TxnResponse, error) {
	return b.mine.Txn(ctx).Then(ops...).Commit()
}

func (b *bed) each(yield func(Entry, time.Time) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, e := range b.entries {
		if !yield(e, b.since[name]) {
			return
		}
	}
}

func (b *bed) events(events []*clientv3.Event) {
	for _, ev := range events {
		b.set(func() {
			key := string(ev.Kv.Key)
			e, ok := b.entries[key]
			switch {
			case !ok, ev.Kv.ModRevision <= e.Rev, ev.Type == clientv3.EventTypePut && ev.Kv.Lease == e.Lease:
			case ev.PrevKv == nil:
				b.lost["an event without the state before"] = time.Now()
			default:
				b.lost[key] = time.Now()
			}
		})
	}
}

func (b *bed) missing(missing []Entry) {
	for _, e := range missing {
		b.set(func() {
			if b.entries[e.Key] == e {
				b.lost[e.Key] = time.Now()
			}
		})
	}
}

// put puts keys and makes them entries.
func (b *bed) put(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		key := root + name
		resp, err := b.other.Put(t.Context(), key, "", clientv3.WithLease(b.lease))
		if err != nil {
			t.Fatal(err)
		}
		b.set(func() {
			b.entries[key], b.since[key] = Entry{Key: key, Rev: resp.Header.Revision, Lease: int64(b.lease)}, time.Now()
		})
		b.Wake()
	}
}

// delete deletes keys in etcd.
func (b *bed) delete(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := b.other.Delete(t.Context(), root+name); err != nil {
			t.Fatal(err)
		}
	}
}

// end ends entries.
func (b *bed) end(names ...string) {
	for _, name := range names {
		b.set(func() { delete(b.entries, root+name) })
	}
}

// wantLost fails the test unless these keys, and no others, are found to be lost after d.
func (b *bed) wantLost(t *testing.T, d time.Duration, names ...string) {
	t.Helper()
	time.Sleep(d)
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	var lost []string
	for key := range b.lost {
		lost = append(lost, strings.TrimPrefix(key, root))
	}
	slices.Sort(lost)
	slices.Sort(names)
	if !slices.Equal(lost, names) {
		t.Errorf("lost: %v, want %v", lost, names)
	}
}

// wantPlaced fails the test unless so many keys have a watch in place.
func (b *bed) wantPlaced(t *testing.T, want int) {
	t.Helper()
	synctest.Wait()
	if n := b.Placed(); n != want {
		t.Errorf("%d keys have a watch in place, want %d", n, want)
	}
}

// cost returns what was read and watched since the last call.
func (b *bed) cost() (reads, gets, creates int) {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	reads, gets, creates = b.reads, b.gets, b.creates
	b.reads, b.gets, b.creates, b.most = 0, 0, 0, 0
	return reads, gets, creates
}

// logged returns how often that was logged.
func (b *bed) logged(text string) int {
	synctest.Wait()
	return strings.Count(b.log.String(), text)
}
