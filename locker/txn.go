package locker

import (
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/keyspace"
)

// A txn is a transaction about one lock, or a few.
type txn struct {
	key       keyspace.Key
	others    []keyspace.Key
	cmps      []clientv3.Cmp
	then, els []clientv3.Op
	likely    bool // cmps hold but for accidents

	// form, if there is one, makes the transaction when it is known whether it
	// goes in one that does nothing if any of its comparisons fails.
	form    func(flat bool) txn
	hopeful bool // it does something else if its comparisons hold than it would have done
}

// An answer is what etcd says to a txn.
type answer struct {
	succeeded bool
	hopeful   bool  // to a txn that was
	rev       int64 // of etcd; where the txn wrote, that of its writes
	responses []*pb.ResponseOp
}

// kvs returns the keys that the i-th operation read.
func (a answer) kvs(i int) []*mvccpb.KeyValue { return a.responses[i].GetResponseRange().Kvs }

// ops is how many operations of a batch t may be.
func (t txn) ops() int {
	if t.likely {
		return max(len(t.cmps), len(t.then))
	}
	return 1
}

// size is how much t writes, in bytes.
func (t txn) size() (n int) {
	for _, op := range t.then {
		n += len(op.ValueBytes())
	}
	return n
}

// formed is t as it is to be sent.
func (t txn) formed(flat bool) txn {
	if t.form == nil {
		return t
	}
	f := t.form(flat)
	f.form = t.form
	return f
}

// touches reports whether t is about one of these locks.
func (t txn) touches(locks map[keyspace.Key]bool) bool {
	return locks[t.key] || slices.ContainsFunc(t.others, func(k keyspace.Key) bool { return locks[k] })
}
