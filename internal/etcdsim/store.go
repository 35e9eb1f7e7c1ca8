package etcdsim

import (
	"bytes"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// A store holds every version of every key since the last compaction. It knows no clock and no lock: the Sim's mutex guards it.
type store struct {
	rev       int64
	compacted int64 // -1 before the first compaction, as in etcd
	names     []string
	keys      map[string][]version // oldest first
	log       []change             // in order of revision
}

type version struct {
	kv   *mvccpb.KeyValue // not changed once it is stored
	dead bool             // a deletion: kv has the key and the revision only
}

// A change is one event, and what it replaced.
type change struct {
	version
	prev *mvccpb.KeyValue // as of the revision before; nil if there was none
}

func newStore() store {
	return store{rev: 1, compacted: -1, keys: make(map[string][]version)}
}

// A span is a set of keys: one key, or those from key up to end, or without end.
type span struct {
	key, end string
	single   bool
	open     bool
}

// spanOf takes a range as it is on the wire, where an end of one zero byte means that there is none.
func spanOf(key, end []byte) span {
	return span{
		key:    string(key),
		end:    string(end),
		single: len(end) == 0,
		open:   len(end) == 1 && end[0] == 0,
	}
}

func (sp span) has(key string) bool {
	if sp.single {
		return key == sp.key
	}
	return key >= sp.key && (sp.open || key < sp.end)
}

// in returns the sorted names of sp that exist or have existed.
func (s *store) in(sp span) []string {
	from, found := slices.BinarySearch(s.names, sp.key)
	switch {
	case sp.single && found:
		return s.names[from : from+1]
	case sp.single:
		return nil
	case sp.open:
		return s.names[from:]
	}
	to, _ := slices.BinarySearch(s.names, sp.end)
	return s.names[from:max(from, to)]
}

// at returns key as of rev, or nil.
func (s *store) at(key string, rev int64) *mvccpb.KeyValue {
	vs := s.keys[key]
	for i := len(vs) - 1; i >= 0; i-- {
		if vs[i].kv.ModRevision <= rev {
			if vs[i].dead {
				return nil
			}
			return vs[i].kv
		}
	}
	return nil
}

func (s *store) add(c change) {
	name := string(c.kv.Key)
	if _, known := s.keys[name]; !known {
		i, _ := slices.BinarySearch(s.names, name)
		s.names = slices.Insert(s.names, i, name)
	}
	s.keys[name] = append(s.keys[name], c.version)
	s.log = append(s.log, c)
}

// since returns the changes from rev on.
func (s *store) since(rev int64) []change {
	i, _ := slices.BinarySearchFunc(s.log, rev, func(c change, rev int64) int {
		return int(c.kv.ModRevision - rev)
	})
	return s.log[i:]
}

// compact forgets what nobody can see who reads at rev or later.
func (s *store) compact(rev int64) error {
	switch {
	case rev <= s.compacted:
		return rpctypes.ErrGRPCCompacted
	case rev > s.rev:
		return rpctypes.ErrGRPCFutureRev
	}
	s.compacted = rev
	s.log = slices.Clone(s.since(rev))
	s.log = slices.DeleteFunc(s.log, func(c change) bool { // put and deleted at rev: the deletion is left
		return c.kv.ModRevision == rev && !c.dead && s.at(string(c.kv.Key), rev) != c.kv
	})
	s.names = slices.DeleteFunc(s.names, func(name string) bool {
		vs := s.keys[name]
		for len(vs) > 1 && vs[1].kv.ModRevision <= rev {
			vs = vs[1:]
		}
		if vs[0].dead && vs[0].kv.ModRevision <= rev {
			vs = vs[1:]
		}
		if len(vs) == 0 {
			delete(s.keys, name)
			return true
		}
		s.keys[name] = slices.Clone(vs)
		return false
	})
	return nil
}

// A write is the part of a transaction that changes the store. All changes of one write share a revision, and reads
// through it see them.
type write struct {
	*store
	leases  *leases
	base    int64
	changes []change
}

// seen is the revision that reads within the transaction see.
func (w *write) seen() int64 {
	if len(w.changes) > 0 {
		return w.base + 1
	}
	return w.base
}

func (w *write) change(kv *mvccpb.KeyValue, dead bool) {
	c := change{version{kv, dead}, w.at(string(kv.Key), w.base)}
	w.add(c)
	w.changes = append(w.changes, c)
}

func (w *write) put(key, value []byte, lease int64) {
	name := strings.Clone(string(key))
	kv := &mvccpb.KeyValue{
		Key:            []byte(name),
		Value:          bytes.Clone(value),
		CreateRevision: w.base + 1,
		ModRevision:    w.base + 1,
		Version:        1,
		Lease:          lease,
	}
	if old := w.at(name, w.base+1); old != nil {
		kv.CreateRevision = old.CreateRevision
		kv.Version = old.Version + 1
	}
	w.change(kv, false)
	w.leases.attach(name, lease)
}

// remove deletes what is in sp, and returns how many keys those were.
func (w *write) remove(sp span) int64 {
	var gone []string
	for _, name := range w.in(sp) {
		if w.at(name, w.base+1) != nil {
			gone = append(gone, name)
		}
	}
	for _, name := range gone {
		w.change(&mvccpb.KeyValue{Key: []byte(name), ModRevision: w.base + 1}, true)
		w.leases.attach(name, 0)
	}
	return int64(len(gone))
}
