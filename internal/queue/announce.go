package queue

import (
	"context"
	"errors"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/place"
	"github.com/phpgao/elock/internal/record"
)

// ErrEvicted says that an entry is marked: its lock is taken away, and its deletion follows.
var ErrEvicted = errors.New("locker: queue entry is marked as evicted")

// Announce puts e's record again with another announcement, while it is what was put last. It tries until ctx ends. It fails with
// place.ErrDisplaced if e is gone, and with ErrEvicted. After another error, inDoubt says that the text may have been put, or may
// yet be, but not after that of a later call. One call may run at a time. It sets Mod, and what the Record announces.
func (e *Entry) Announce(ctx context.Context, text string) (inDoubt bool, err error) {
	next := e.Record()
	next.Announce(text)
	err = e.set.cfg.Etcd.Persist(ctx, func(ctx context.Context) error {
		for {
			value := string(next.Encode())
			a, err := e.set.cfg.Batch.Commit(ctx, batch.Txn{
				Key:  e.Key,
				If:   []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(e.Name), "=", e.Mod)},
				Then: []clientv3.Op{clientv3.OpPut(e.Name, value, clientv3.WithIgnoreLease())},
				Else: []clientv3.Op{clientv3.OpGet(e.Name)}, ExpectSuccess: true,
			})
			if err != nil {
				inDoubt = inDoubt || !batch.NotApplied(err)
				return err
			}
			if a.Succeeded {
				e.Mod = a.Revision
				return nil
			}
			kvs := a.KVs(0)
			switch {
			case len(kvs) == 0 || !e.Is(kvs[0]):
				inDoubt = false
				return place.ErrDisplaced
			case record.Evicted(kvs[0]):
				inDoubt = false
				return ErrEvicted
			}
			e.Mod = kvs[0].ModRevision
			// An earlier call was given up, and its text has come since; or somebody asks for the lock, or told the entry its turn.
			next.Request = record.Requested(kvs[0])
			if string(kvs[0].Value) == string(next.Encode()) {
				return nil // an earlier try has put it
			}
		}
	})
	if err == nil {
		e.whole = &next
	}
	return inDoubt && err != nil, err
}
