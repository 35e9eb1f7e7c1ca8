package record

import (
	"bytes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Created compares the create revision of a key, which is 0 where there is none.
func Created(name string, rev int64) clientv3.Cmp {
	cmp := clientv3.CreateRevision(name)
	// What clientv3.Compare does to a copy, made by reflection.
	cmp.GetCompare().TargetUnion = &pb.Compare_CreateRevision{CreateRevision: rev}
	return cmp
}

// Vacant holds while nobody has an entry in the queue of that directory, whose name ends with a slash. A key without a lease, which
// somebody has left there, is none.
func Vacant(dir string) clientv3.Cmp {
	cmp := clientv3.LeaseValue(dir)
	// What clientv3.Compare does to a copy, made by reflection.
	of := cmp.GetCompare()
	of.RangeEnd = []byte(dir)
	of.RangeEnd[len(dir)-1]++
	of.TargetUnion = &pb.Compare_Lease{}
	return cmp
}

// A Read is what some keys were at a moment.
type Read struct {
	Rev   int64 // of etcd, when it was so
	Names []string
	KVs   []*mvccpb.KeyValue // nil where there is no such key
}

// Gets reads keys of those names.
func Gets(names []string) []clientv3.Op {
	ops := make([]clientv3.Op, len(names))
	for i, name := range names {
		ops[i] = clientv3.OpGet(name)
	}
	return ops
}

// ReadOf returns what the answers to Gets said at rev, nil if there are no names.
func ReadOf(rev int64, names []string, answers []*pb.ResponseOp) *Read {
	if len(names) == 0 {
		return nil
	}
	r := &Read{Rev: rev, Names: names, KVs: make([]*mvccpb.KeyValue, len(names))}
	for i := range names {
		if kvs := answers[i].GetResponseRange().Kvs; len(kvs) > 0 {
			r.KVs[i] = kvs[0]
		}
	}
	return r
}

// ReadKnown returns what names, of which kv has the only one, are known to be: kv, which has its key, its value and its mod revision.
// Whoever gets it may change it.
func ReadKnown(names []string, kv *mvccpb.KeyValue) *Read {
	own := &mvccpb.KeyValue{Key: bytes.Clone(kv.Key), Value: bytes.Clone(kv.Value), ModRevision: kv.ModRevision}
	return &Read{Rev: kv.ModRevision, Names: names, KVs: []*mvccpb.KeyValue{own}}
}
