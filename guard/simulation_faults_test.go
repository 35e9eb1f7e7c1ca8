package guard_test

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/locker"
)

// plan returns how messages travel.
func (w *world) plan() etcdsim.Plan {
	f := w.Messages()
	if w.refuses() {
		w.Refuse(&f)
	}
	return f.Plan()
}

// refuses reports whether etcd refuses single calls and runs out of space.
func (w *world) refuses() bool { return w.Profile == simtest.Lossy || w.Profile.Shakes() }

// torment causes faults until the work stops.
func (w *world) torment() {
	kinds := []func(){w.vandalize, w.trespass}
	if w.Profile.CutsOff() {
		kinds = append(kinds, w.Cut, w.Pause, w.BreakStreams)
	}
	if w.Profile.Shakes() {
		kinds = append(kinds, w.LoseLeader, w.compact, w.BreakWatches, w.HurryLeases)
	}
	if w.refuses() {
		kinds = append(kinds, w.Fill)
	}
	w.Torment(5*time.Second, kinds...)
}

// vandalize deletes an entry of a queue by hand.
func (w *world) vandalize() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	resp, err := w.Operator.Get(ctx, "/"+locker.DefaultPrefix+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return
	}
	entries := slices.DeleteFunc(resp.Kvs, func(kv *mvccpb.KeyValue) bool { return w.isList(string(kv.Key)) })
	if len(entries) == 0 {
		return
	}
	kv := entries[w.IntN(len(entries))]
	w.Logf("fault: %s is deleted by hand", kv.Key)
	_, _ = w.Operator.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(string(kv.Key)), "=", kv.CreateRevision)).
		Then(clientv3.OpDelete(string(kv.Key))).Commit()
}

func (w *world) isList(name string) bool {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	_, ok := w.lists[name]
	return ok
}

// trespass appends to a list, or deletes it, without its lock.
func (w *world) trespass() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	name := w.keys[w.IntN(len(w.keys))].ValuePath(locker.DefaultPrefix)
	resp, err := w.Operator.Get(ctx, name)
	if err != nil {
		return
	}
	var list []int
	rev := int64(0)
	if len(resp.Kvs) > 0 {
		rev = resp.Kvs[0].ModRevision
		if err := json.Unmarshal(resp.Kvs[0].Value, &list); err != nil {
			panic(err)
		}
	}
	w.Mu.Lock()
	a := attempt{names: []string{name}, deletes: rev != 0 && w.Chance(0.2), stranger: true}
	data, _ := json.Marshal(append(list, w.begin(a)))
	op := clientv3.OpPut(name, string(data))
	if a.deletes {
		op = clientv3.OpDelete(name)
	}
	w.Log("fault: a stranger writes %s to %s, or deletes it: %v", data, name, a.deletes)
	w.Mu.Unlock()
	_, _ = w.Operator.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(name), "=", rev)).Then(op).Commit()
}

func (w *world) compact() {
	w.Mu.Lock()
	w.gaps = true
	w.Mu.Unlock()
	w.Compact()
}
