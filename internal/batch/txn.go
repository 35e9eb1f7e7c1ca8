package batch

import (
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/keyspace"
)

// A Txn is a transaction about one key, or about a few.
type Txn struct {
	Key        keyspace.Key
	Also       []keyspace.Key
	If         []clientv3.Cmp
	Then, Else []clientv3.Op
	// ExpectSuccess says that If holds but for accidents.
	ExpectSuccess bool
	// Patient says that nobody waits for it: it may wait a moment for another to go with.
	Patient bool

	// Form, if it is set, makes the transaction that is sent. merged says that it becomes part of one transaction with
	// others, which does nothing if a comparison of any of them fails.
	Form func(merged bool) Txn
	// Optimistic marks a merged form that differs from the one that is sent alone: its result has other responses.
	Optimistic bool
}

// A Result is etcd's answer to a Txn.
type Result struct {
	Succeeded  bool
	Optimistic bool // it is the answer to an optimistic form
	// InDoubt says that the transaction was sent twice: if its comparisons failed, the other one may have been carried out.
	InDoubt   bool
	Revision  int64 // of etcd; where the transaction wrote, that of its writes
	Responses []*pb.ResponseOp
}

// KVs returns the keys that the i-th operation has read.
func (r Result) KVs(i int) []*mvccpb.KeyValue { return r.Responses[i].GetResponseRange().Kvs }

// ops is how many operations of a batch t may be.
func (t Txn) ops() int {
	if t.ExpectSuccess {
		return max(len(t.If), len(t.Then))
	}
	return 1
}

// size is how much t writes, in bytes.
func (t Txn) size() (n int) {
	for _, op := range t.Then {
		n += len(op.ValueBytes())
	}
	return n
}

// formed is t as it is to be sent.
func (t Txn) formed(merged bool) Txn {
	if t.Form == nil {
		return t
	}
	f := t.Form(merged)
	f.Form = t.Form
	return f
}

// about reports whether t is about one of these keys.
func (t Txn) about(keys map[keyspace.Key]bool) bool {
	return keys[t.Key] || slices.ContainsFunc(t.Also, func(k keyspace.Key) bool { return keys[k] })
}
