package inspect

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

// ErrForeign says that an entry is of another library, whose clients cannot be asked for the lock.
var ErrForeign = errors.New("locker: the holder uses another library, and cannot be asked")

// errGone says that an entry is not there any more.
var errGone = errors.New("locker: queue entry is gone")

// RequestRelease asks those who hold the lock of key for it, by a request in their records, unless there is one already. It reports
// whether there is anybody to ask. It tries until ctx ends, and may be repeated; after an error they may be asked all the same. The
// error is ErrForeign if only clients of another library hold.
func (i *Inspector) RequestRelease(ctx context.Context, key keyspace.Key, r record.Request) (asked bool, err error) {
	for {
		all, _, err := i.Entries(ctx, key)
		if err != nil {
			return false, err
		}
		gone, foreign := false, false
		for _, holder := range all[:record.Holding(all)] {
			done, err := i.ask(ctx, holder, &r)
			switch {
			case errors.Is(err, errGone):
				gone = true
			case errors.Is(err, ErrForeign):
				foreign = true
			case err != nil:
				return false, err
			}
			asked = asked || done
		}
		switch {
		case asked:
			return true, nil
		case gone: // others hold now
		case foreign:
			return false, ErrForeign
		default:
			return false, nil
		}
	}
}

// ask writes a request into the record of an entry, over what it is. It reports false if the entry's owner does not hold any more,
// though the entry is there.
func (i *Inspector) ask(ctx context.Context, kv *mvccpb.KeyValue, request *record.Request) (asked bool, err error) {
	name := string(kv.Key)
	err = i.Etcd.Persist(ctx, func(ctx context.Context) error {
		for {
			r, ours := record.Parse(kv.Value)
			switch {
			case !ours:
				return ErrForeign
			case r.Evicted || !r.Until.IsZero():
				return nil
			case r.Request != nil: // perhaps by an earlier try
				asked = true
				return nil
			}
			r.Request = request
			resp, _, err := i.Etcd.Txn(ctx,
				[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(name), "=", kv.ModRevision)},
				[]clientv3.Op{clientv3.OpPut(name, string(r.Encode()), clientv3.WithIgnoreLease())},
				[]clientv3.Op{clientv3.OpGet(name)})
			if err != nil {
				return err
			}
			if resp.Succeeded {
				asked = true
				return nil
			}
			now := resp.Responses[0].GetResponseRange().Kvs
			if len(now) == 0 || now[0].CreateRevision != kv.CreateRevision || now[0].Lease == 0 {
				return errGone
			}
			kv = now[0] // its owner, or somebody else, has written it
		}
	})
	return asked, err
}
