package inspect

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/internal/xctx"
	"github.com/phpgao/elock/keyspace"
)

// Follow tells the queue of key, the holder first, and the revision from which on it is so: at once, and then after every change, in
// etcd's order. It goes on whatever becomes of its watches. Where etcd has compacted changes, it leaves these out. It ends with nil
// when tell returns false, with the cause of ctx, and with an error of etcd that refuses a read for good. tell must not keep the
// entries.
func (i *Inspector) Follow(ctx context.Context, key keyspace.Key, tell func(entries []*mvccpb.KeyValue, rev int64) bool) error {
	v := view{tell: tell}
	missed := false // etcd has compacted what comes next
	for wait := calls.FirstPause; ctx.Err() == nil; {
		now, rev, err := i.Entries(ctx, key)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return err
		}
		if v.catchUp(now, rev, missed); v.enough {
			return nil
		}
		err = i.Feeds.Since(ctx, key.Path(i.Prefix), v.seen+1, v.take, clientv3.WithPrefix())
		if v.enough {
			return nil
		}
		missed = errors.Is(err, rpctypes.ErrCompacted)
		if err == nil || missed {
			wait = calls.FirstPause
		} else {
			wait = xctx.Pause(ctx, wait)
		}
	}
	return context.Cause(ctx)
}

// A view is a queue as far as its changes are told.
type view struct {
	tell    func(entries []*mvccpb.KeyValue, rev int64) bool
	entries []*mvccpb.KeyValue
	seen    int64 // all up to this revision is told
	told    bool  // something was
	enough  bool  // tell has returned false
}

// catchUp takes what was read at rev where no watch will tell what led to it: at the
// beginning, and where that is missed. Nothing has led to it if the queue is what it
// was; in an empty one somebody may have come and gone.
func (v *view) catchUp(now []*mvccpb.KeyValue, rev int64, missed bool) {
	unchanged := slices.EqualFunc(now, v.entries, func(a, b *mvccpb.KeyValue) bool {
		return string(a.Key) == string(b.Key) && a.ModRevision == b.ModRevision
	})
	switch {
	case !v.told, missed && !unchanged:
		v.entries = now
		v.yield(rev)
	case !missed && (!unchanged || len(now) == 0):
		return // the watch tells
	}
	v.seen = max(v.seen, rev)
}

func (v *view) yield(rev int64) {
	v.seen, v.told = rev, true
	v.enough = !v.tell(v.entries, rev)
}

// take tells what events say, of one revision after another.
func (v *view) take(events []*clientv3.Event) bool {
	for len(events) > 0 && !v.enough {
		rev := events[0].Kv.ModRevision
		n := slices.IndexFunc(events, func(ev *clientv3.Event) bool { return ev.Kv.ModRevision != rev })
		if n < 0 {
			n = len(events)
		}
		changed := false
		for _, ev := range events[:n] {
			changed = v.apply(ev) || changed
		}
		events = events[n:]
		if changed {
			v.yield(rev)
		}
		v.seen = rev
	}
	return !v.enough
}

// apply reports whether an event has changed the queue. The mark of Evict does not, as the
// deletion follows, and nor does a request for the lock.
func (v *view) apply(ev *clientv3.Event) bool {
	i := slices.IndexFunc(v.entries, func(kv *mvccpb.KeyValue) bool { return string(kv.Key) == string(ev.Kv.Key) })
	entry := ev.Type == clientv3.EventTypePut && ev.Kv.Lease != 0
	switch {
	case i < 0 && !entry:
		return false
	case i < 0:
		at, _ := slices.BinarySearchFunc(v.entries, ev.Kv.CreateRevision, func(kv *mvccpb.KeyValue, rev int64) int {
			return cmp.Compare(kv.CreateRevision, rev)
		})
		v.entries = slices.Insert(v.entries, at, ev.Kv)
	case !entry:
		v.entries = slices.Delete(v.entries, i, i+1)
	case v.entries[i].CreateRevision == ev.Kv.CreateRevision && record.Evicted(ev.Kv):
		return false
	case v.entries[i].CreateRevision == ev.Kv.CreateRevision:
		request := record.Requested(v.entries[i]) == nil && record.Requested(ev.Kv) != nil
		v.entries[i] = ev.Kv
		return !request
	default: // deleted and put in one transaction of several
		v.entries = slices.Delete(v.entries, i, i+1)
		v.apply(ev)
	}
	return true
}
