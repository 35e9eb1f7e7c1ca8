package queue

import (
	"context"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/lease"
	"github.com/phpgao/elock/internal/record"
)

// Fate finds out why e is gone, which its owner did not remove: its lease is lost, or
// somebody evicted it. Otherwise somebody deleted it, or etcd does not tell.
func (e *Entry) Fate(ctx context.Context) (loss lease.Loss, evicted bool) {
	if loss = e.Lease.Lost(); loss != 0 || e.History(ctx) {
		return loss, loss == 0
	}
	expired := e.Lease.Lost() == 0 && e.set.cfg.Etcd.LeaseGone(ctx, e.Lease.ID())
	loss = e.Lease.Lost()
	if loss == 0 && expired && e.set.cfg.Base.Err() == nil { // the process that ends revokes it
		loss = lease.Expired
	}
	return loss, false
}

// History reports whether etcd's past says that e was evicted.
func (e *Entry) History(ctx context.Context) (evicted bool) {
	ctx, cancel := context.WithTimeout(ctx, calls.Grace)
	defer cancel()
	ev, compacted, err := e.set.Deletion(ctx, e.Name, e.Rev+1)
	if compacted > e.Rev {
		ev, _, err = e.set.Deletion(ctx, e.Name, compacted)
	}
	return err == nil && (record.Evicted(ev.PrevKv) || e.movedOver(ctx, ev.PrevKv))
}

// movedOver reports whether last, with which e went, was put over the mark of an eviction, as an entry that is to stay may be.
func (e *Entry) movedOver(ctx context.Context, last *mvccpb.KeyValue) bool {
	if last == nil || clientv3.LeaseID(last.Lease) == e.Lease.ID() {
		return false
	}
	resp, err := e.set.cfg.Etcd.Read(ctx, clientv3.OpGet(e.Name, clientv3.WithRev(last.ModRevision-1)))
	if err != nil {
		return false
	}
	kvs := resp.Responses[0].GetResponseRange().Kvs
	return len(kvs) > 0 && record.Evicted(kvs[0])
}

// pastsAtOnce bounds how many entries are looked for in etcd's past at a time.
const pastsAtOnce = 64

// Fates finds out for all of entries at once how they went, which are deleted. A lease that etcd does not know is lost, and with it
// all that is under it. For each entry of the others it calls told, with the index, on a goroutine of its own. If past is true, it
// looks first whether the entry was evicted.
func (s *Set) Fates(ctx context.Context, entries []*Entry, past bool, told func(i int, evicted bool)) {
	slots := make(chan struct{}, pastsAtOnce)
	var asked sync.WaitGroup
	for _, under := range byLease(entries) {
		asked.Go(func() {
			if l := entries[under[0]].Lease; s.cfg.Etcd.LeaseGone(ctx, l.ID()) {
				l.Lose(lease.Expired)
				return
			}
			for _, i := range under {
				asked.Go(func() {
					slots <- struct{}{}
					evicted := past && entries[i].History(ctx)
					<-slots
					told(i, evicted)
				})
			}
		})
	}
	asked.Wait()
}

// byLease groups the indexes of entries by their leases, in order, so that a simulation can be
// replayed.
func byLease(entries []*Entry) (groups [][]int) {
	at := make(map[*lease.Lease]int)
	for n, e := range entries {
		i, ok := at[e.Lease]
		if !ok {
			i = len(groups)
			at[e.Lease] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], n)
	}
	return groups
}

// Deletion returns the event with which a key went, at the revision from or
// later. It waits for it. If that may be in a past that is compacted, it fails and
// returns the first revision that is not.
func (s *Set) Deletion(ctx context.Context, name string, from int64) (ev *clientv3.Event, compacted int64, err error) {
	return s.cfg.Feeds.First(ctx, name, from, clientv3.WithFilterPut(), clientv3.WithPrevKV())
}
