package queue

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/place"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

// getNearby is to get its key and end: that costs less than a new operation.
var getNearby = clientv3.OpGet("", clientv3.WithLimit(place.Nearby), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend))

// Join is what reads who is ahead and puts e behind them: in this order, so
// that etcd does not send e's own record back. The transaction must also compare
// record.Created(e.Name, 0).
func (e *Entry) Join() []clientv3.Op {
	ahead := getNearby
	if e.Asks() != place.Nearby {
		ahead = clientv3.OpGet("", clientv3.WithLimit(int64(e.Asks())), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend))
	}
	ahead.WithKeyBytes([]byte(e.Dir))
	ahead.WithRangeBytes(e.dirEnd())
	return append([]clientv3.Op{ahead, e.entry(e.Lease.PutNew())}, record.Gets(e.reads)...)
}

// Joined notes that e came into the queue at rev, as the answers to Join say.
func (e *Entry) Joined(rev int64, answers []*pb.ResponseOp) {
	ahead := answers[0].GetResponseRange()
	e.Rev, e.Mod, e.Sent = rev, rev, true
	e.Read = record.ReadOf(rev, e.reads, answers[2:])
	e.Note(rev, ahead.Kvs, int(ahead.Count)-len(ahead.Kvs))
}

// optimistic joins the queue if nothing is there.
func (e *Entry) optimistic() batch.Txn {
	empty := clientv3.CreateRevision(e.Dir) // of all that is there, equal to 0
	empty.GetCompare().RangeEnd = e.dirEnd()
	return batch.Txn{
		Key:  e.Key,
		If:   []clientv3.Cmp{empty},
		Then: append([]clientv3.Op{e.entry(e.Lease.PutNew())}, record.Gets(e.reads)...), ExpectSuccess: true, Optimistic: true,
	}
}

// entry puts e, as put does an entry under its lease.
func (e *Entry) entry(put clientv3.Op) clientv3.Op {
	put.WithKeyBytes([]byte(e.Name))
	put.WithValueBytes(e.Record().Encode())
	return put
}

// deleteKey is to get its key: that costs less than a new operation.
var deleteKey = clientv3.OpDelete("")

// Removal deletes the key with that create revision and no other.
func Removal(key keyspace.Key, name string, rev int64) batch.Txn {
	del := deleteKey
	del.WithKeyBytes([]byte(name))
	return batch.Txn{Key: key, If: []clientv3.Cmp{record.Created(name, rev)}, Then: []clientv3.Op{del}, ExpectSuccess: true}
}
