package record

import (
	"bytes"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// Entries drops the keys that are not entries of a queue. It changes kvs.
func Entries(kvs []*mvccpb.KeyValue) []*mvccpb.KeyValue {
	return slices.DeleteFunc(kvs, func(kv *mvccpb.KeyValue) bool { return kv.Lease == 0 })
}

// Alone reports whether the owner of an entry does not share the lock.
func Alone(kv *mvccpb.KeyValue) bool {
	r, ok := Parse(kv.Value)
	return !ok || r.Mode != Shared
}

// Retained reports whether the lock of an entry may be held by nobody.
func Retained(kv *mvccpb.KeyValue) bool {
	r, ok := Parse(kv.Value)
	return ok && r.Retained
}

// Evicted reports whether an entry, which may be nil, is marked: its lock is taken away from its owner.
func Evicted(kv *mvccpb.KeyValue) bool {
	if kv == nil {
		return false
	}
	r, ok := Parse(kv.Value)
	return ok && r.Evicted
}

// Requested returns the request for the lock of an entry, which may be nil; nil if there is none.
func Requested(kv *mvccpb.KeyValue) *Request {
	if kv == nil || !bytes.Contains(kv.Value, []byte(`"request":`)) { // most have none
		return nil
	}
	r, ok := Parse(kv.Value)
	if !ok {
		return nil
	}
	return r.Request
}

// HasNonce reports whether the record of an entry has that nonce.
func HasNonce(kv *mvccpb.KeyValue, nonce uint64) bool {
	r, ok := Parse(kv.Value)
	return ok && r.Nonce == nonce
}

// Holding is how many entries of a queue hold the lock: the first, and those behind it
// that share it, or find slots. They are the head of the queue: if one waits, so do all behind it.
func Holding(queue []*mvccpb.KeyValue) int {
	if len(queue) == 0 {
		return 0
	}
	head := ClaimOf(queue[0])
	if head == (Claim{}) {
		return 1
	}
	taken, n := head.Weight, 1
	for ; n < len(queue); n++ {
		next := ClaimOf(queue[n])
		if next.Shared != head.Shared || next.Slots != head.Slots || taken > next.Room() {
			break
		}
		taken += next.Weight
	}
	return n
}
