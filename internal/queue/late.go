package queue

import (
	"cmp"
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/internal/lease"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

// A lateWrite is a put that was given up and had not come when it was looked
// for. A member that was paused or cut off may yet carry it out. Then its entry
// would block the lock for as long as the lease lives.
type lateWrite struct {
	key   keyspace.Key
	name  string
	nonce uint64 // of its record
	rev   int64  // the create revision of the entry that another try put, and that stays; 0: none
	lease *lease.Lease
}

// mayComeLate has the puts of e looked for, whose outcome is not known. e.Rev says
// which entry e has, or had, from another try, if any.
func (e *Entry) mayComeLate() {
	e.putInDoubt = false
	e.set.late.Add(lateWrite{e.Key, e.Name, e.nonce, e.Rev, e.Lease})
}

// removeLate looks for writes, and removes those that have come.
func (s *Set) removeLate(ctx context.Context, writes []lateWrite) error {
	names := make([]string, len(writes))
	for i, w := range writes {
		names[i] = w.name
	}
	resp, err := s.cfg.Etcd.Read(ctx, record.Gets(names)...)
	if err != nil {
		return err
	}
	for i, w := range writes {
		kvs := resp.Responses[i].GetResponseRange().Kvs
		if len(kvs) == 0 || !w.is(kvs[0]) {
			continue
		}
		deleted, _, failed := s.Delete(ctx, w.key, w.name, kvs[0].CreateRevision)
		if deleted {
			s.cfg.Log.Info("elock: removed an entry that was written late", "key", w.key.String(), "owner", s.cfg.Owner)
		}
		err = cmp.Or(err, failed)
	}
	return err
}

// is reports whether an entry is the one that was written late.
func (w lateWrite) is(kv *mvccpb.KeyValue) bool {
	return record.HasNonce(kv, w.nonce) && kv.CreateRevision != w.rev
}
