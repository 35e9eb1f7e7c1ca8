package guard

import "go.etcd.io/etcd/api/v3/mvccpb"

// A Version is a stored value as a commit left it, or the fact that none is stored.
type Version[T any] struct {
	// Value is the zero T where no value is stored.
	Value T
	// Revision is that of etcd which committed the value. It grows with every
	// commit, also when the value was deleted in between. It is 0 where no value is
	// stored: it was never stored, or it was deleted.
	Revision int64
}

// Stored tells a value that is stored, which may be a zero T, from one that was
// never stored or was deleted.
func (v Version[T]) Stored() bool { return v.Revision != 0 }

// version returns what kv, nil where there is none, is as a Version. With an
// error, it has the revision and a zero T.
func (s stored[T]) version(kv *mvccpb.KeyValue) (Version[T], error) {
	value, err := s.decode(kv)
	return Version[T]{value, kv.GetModRevision()}, err
}
