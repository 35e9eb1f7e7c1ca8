package locker

import (
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// maxReading is how many keys an acquire may read: with what it does besides,
// it must fit into a transaction of etcd.
const maxReading = 32

// ReadKeys makes an acquire also read keys of etcd, such as a value that the
// lock guards: in its own round trip if it does not have to wait, and else once
// the lock is held. Hold.Read returns them. An acquire takes 32 keys at most.
func ReadKeys(names ...string) AcquireOption {
	return func(r *request) {
		r.read(names)
		r.Fresh = true
	}
}

// ReadKnown is ReadKeys of the value that a lock guards, keyspace.Key.ValuePath, and
// sends nothing where the Locker knows it: it retains the lock, as WithRetain says, and
// the last Commit under it has put this one value, of 16 KiB at most. Hold.Read then
// returns what was put, with its mod revision; the create revision and the version are 0,
// which no key in etcd has. What somebody has written since without the lock is not
// seen: only a Commit that compares the mod revision tells.
func ReadKnown(names ...string) AcquireOption {
	return func(r *request) { r.read(names) }
}

func (r *request) read(names []string) {
	r.Reads = append(slices.Clip(r.Reads), names...)
	switch {
	case slices.Contains(names, ""):
		r.err = invalid("reading a key without a name")
	case len(r.Reads) > maxReading:
		r.err = invalid("reading %d keys; want at most %d", len(r.Reads), maxReading)
	}
}

// Read returns what ReadKeys asked for: an element for each key, in that order,
// and nil where there was none. It is what the keys were at a moment at which
// the lock was held already; ReadKnown says what it does else. In the function of a guard of a stored value, that
// value comes last.
func (h *Hold) Read() []*mvccpb.KeyValue {
	if h.read == nil {
		return nil
	}
	return h.read.KVs
}
