package nemesis_test

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A fate is how an entry left etcd: at which revision, with which value, and what else happened to locks at that revision.
type fate struct {
	rev   int64
	value string
	with  []string
}

// A witness watches the entries of all locks, from a connection of its own. So it can tell how one went when nobody is said to
// have deleted it.
type witness struct {
	cancel  context.CancelFunc
	watches sync.WaitGroup
	fates   map[entry]fate // to be read when it has stopped
}

func newWitness(c *clientv3.Client) *witness {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(context.Background()))
	w := &witness{cancel: cancel, fates: make(map[entry]fate)}
	w.watches.Go(func() {
		for next := int64(1); ctx.Err() == nil; idle(ctx, 20*time.Millisecond) {
			next = w.watch(ctx, c, next)
		}
	})
	return w
}

// stop ends w and returns what it knows.
func (w *witness) stop() map[entry]fate {
	w.cancel()
	w.watches.Wait()
	return w.fates
}

// watch notes what happens from a revision on, and returns that at which to go on when the watch has ended.
func (w *witness) watch(ctx context.Context, c *clientv3.Client, from int64) int64 {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for resp := range c.Watch(ctx, locks, clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithRev(from)) {
		from = max(from, resp.CompactRevision) // what was before that, it has missed
		for _, ev := range resp.Events {
			from = ev.Kv.ModRevision + 1
			if ev.Type == clientv3.EventTypePut || ev.PrevKv == nil {
				continue
			}
			f := fate{rev: ev.Kv.ModRevision, value: string(ev.PrevKv.Value)}
			for _, other := range resp.Events {
				if other != ev && other.Kv.ModRevision == f.rev {
					f.with = append(f.with, other.Type.String()+" "+string(other.Kv.Key))
				}
			}
			for _, x := range entriesOf(ev.PrevKv) {
				w.fates[x] = f
			}
		}
	}
	return from
}
