package simulation_test

import (
	"bytes"
	"context"
	"path"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/simtest"
)

// patience is how long the first in a queue may go without a hold; 0: a fault may make it any time.
func (w *world) patience() time.Duration {
	switch {
	case w.prod[steadfast]:
		return 5 * time.Second // what is refused is tried again after a pause
	case w.Profile == simtest.Calm:
		return 2 * time.Second
	case w.Profile == simtest.Lossy:
		return 15 * time.Second
	}
	return 0
}

// maxKeys is how many locks there are at most. An entry left behind shows where its process does not soon come to the same lock
// again.
func (w *world) maxKeys() int {
	if w.Profile == simtest.Lossy {
		return 8
	}
	return 3
}

// plan returns how messages travel.
func (w *world) plan() etcdsim.Plan {
	f := w.Messages()
	w.produce(&f)
	if w.prod[denied] {
		return w.deny(f.Plan())
	}
	return f.Plan()
}

// torment causes faults until the work stops.
func (w *world) torment() {
	kinds := []func(){w.vandalize}
	if w.Profile.CutsOff() {
		kinds = append(kinds, w.Cut, w.Pause, w.BreakStreams)
	}
	if w.Profile.Shakes() {
		kinds = append(kinds, w.LoseLeader, w.Compact, w.BreakWatches, w.HurryLeases)
	}
	w.Torment(10*time.Second, append(kinds, w.torments()...)...)
}

// vandalize deletes some entry, of a holder or a waiter.
func (w *world) vandalize() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	entries, err := w.entries(ctx)
	if err != nil || len(entries) == 0 {
		return
	}
	kv := entries[w.IntN(len(entries))]
	w.Mu.Lock()
	e := entry{path.Dir(string(kv.Key)), kv.CreateRevision}
	w.place(e).vandal = true
	w.Log("fault: entry %v is deleted by hand", e)
	w.Mu.Unlock()
	_, _ = w.Operator.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(string(kv.Key)), "=", kv.CreateRevision)).
		Then(clientv3.OpDelete(string(kv.Key))).Commit()
}

// entries returns all that queue for a lock. What is there besides is values.
func (w *world) entries(ctx context.Context) ([]*mvccpb.KeyValue, error) {
	resp, err := w.Operator.Get(ctx, "/elock/", clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(resp.Kvs, func(kv *mvccpb.KeyValue) bool { return kv.Lease == 0 }), nil
}

// leftovers checks that nothing is left in etcd after all Lockers are closed.
func (w *world) leftovers() {
	client, ctx := w.Operator, context.Background()
	check := func(what string, n int, err error) {
		if err != nil || n != 0 {
			w.Failf("%d %s left, %v", n, what, err)
		}
	}
	entries, err := w.entries(ctx)
	entries = slices.DeleteFunc(entries, func(kv *mvccpb.KeyValue) bool { return bytes.Contains(kv.Value, []byte(`"until":`)) })
	check("entries", len(entries), err)
	time.Sleep(simtest.MaxTTL + time.Minute) // leases whose grant was never answered, and those of what is to stay
	entries, err = w.entries(ctx)
	check("entries that were to stay", len(entries), err)
	leases, err := client.Leases(ctx)
	check("leases", len(leases.Leases), err)
	for _, k := range w.keys {
		for _, r := range []string{register(k), value(k)} {
			n := 0
			resp, err := client.Get(ctx, r)
			if err == nil && len(resp.Kvs) == 1 {
				n = atoi(resp.Kvs[0].Value)
			}
			if acked, unknown := w.acked[r], w.unknown[r]; err != nil || n < acked || n > acked+unknown {
				w.Failf("%s is %d after %d updates and %d of unknown outcome, %v", r, n, acked, unknown, err)
			}
		}
	}
	for _, t := range w.troubles {
		t.settled()
	}
	for kind, n := range w.open {
		if n != 0 {
			w.Failf("%d hooks of %s have started and not ended", n, kind)
		}
	}
}
