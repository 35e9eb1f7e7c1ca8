package queue

import (
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/internal/latewrite"
	"github.com/phpgao/elock/internal/lease"
	"github.com/phpgao/elock/internal/place"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

// Config says what a Set works with. All fields must be set.
type Config struct {
	place.Config
	GaveUp func(*mvccpb.KeyValue) bool // reports whether an entry is this process's own, under a lease that it believes in no more

	Prefix string // of all keys
	Owner  string // for the log
	Log    *slog.Logger
}

// A Set is the entries of a process. It is safe for concurrent use.
type Set struct {
	cfg   Config
	nonce atomic.Uint64
	late  *latewrite.List[lateWrite]
}

// NewSet returns a Set without entries. It sends nothing.
func NewSet(cfg Config) *Set {
	s := &Set{cfg: cfg}
	s.late = latewrite.New(latewrite.Config[lateWrite]{
		Base:  cfg.Base,
		Spawn: cfg.Spawn,
		Look:  s.removeLate,
		Over:  func(w lateWrite) bool { return w.lease.Context().Err() != nil },
	})
	return s
}

// LateWrites returns how many writes are looked for, see package latewrite.
func (s *Set) LateWrites() int { return s.late.Len() }

// An Entry is one entry in the queue of a lock. Its fields are for its owner to read, but for those that say more.
type Entry struct {
	place.Place // its name may be changed before it is sent

	Lease *lease.Lease
	Read  *record.Read // what it read as it became the first, or later; who takes it sets this to nil

	// Successor is perhaps in etcd instead: see Replace. Clean removes it, too.
	Successor *Entry

	// its record, with the Claim; a whole one is kept only for what few have
	owner string
	since time.Time
	nonce uint64
	whole *record.Record // nil: it says no more

	set            *Set
	reads          []string         // what joining the queue also reads
	stale          *mvccpb.KeyValue // what is to be removed before it joins the queue
	putInDoubt     bool             // a try of its put has no known outcome
	removalInDoubt bool             // a try to remove it has none

	Sent bool // something of it may be in etcd
}

// Entry returns an entry that is not in etcd yet. Its record has what is given, and a nonce of its own. Joining the queue also
// reads the keys of reads.
func (s *Set) Entry(key keyspace.Key, l *lease.Lease, r record.Record, reads []string) Entry {
	r.Version, r.Nonce = record.Version, s.nonce.Add(1)
	e := Entry{Place: place.New(&s.cfg.Config), Lease: l, owner: r.Owner, since: r.Since, nonce: r.Nonce, set: s, reads: reads}
	if len(r.Annotations) > 0 || r.Announcement() != "" {
		whole := r
		e.whole = &whole
	}
	e.Key = key
	dir := key.Path(s.cfg.Prefix)
	var id [16]byte
	e.Name = dir + string(strconv.AppendInt(id[:0], int64(l.ID()), 16))
	e.Dir, e.LeaseID, e.Claim = e.Name[:len(dir)], int64(l.ID()), r.Claim()
	return e
}

// Record returns e's value. Announce changes what it announces.
func (e *Entry) Record() record.Record {
	if e.whole != nil {
		return *e.whole
	}
	return record.Record{Version: record.Version, Owner: e.owner, Mode: e.Mode(), Since: e.since, Nonce: e.nonce, Slots: e.Slots, Weight: e.Weight}
}

// wrote reports whether kv, which has e's name, was put for e and no other entry.
func (e *Entry) wrote(kv *mvccpb.KeyValue) bool { return record.HasNonce(kv, e.nonce) }

// dirEnd is where the names that begin with e.Dir, and so with a last slash, end.
func (e *Entry) dirEnd() []byte {
	end := []byte(e.Dir)
	end[len(end)-1]++
	return end
}
