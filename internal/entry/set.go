package entry

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/lane"
	"github.com/phpgao/elock/internal/lease"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/internal/retain"
	"github.com/phpgao/elock/keyspace"
)

// Config says what a Set works with. All fields must be set, but Handoff and Retains.
type Config struct {
	Etcd     *calls.Client
	Queues   *queue.Set
	Retained *retain.Set
	Use      func(ctx context.Context, seconds int64) (*lease.Lease, error) // returns a lease for a TTL, of which its user must call Part

	Drain context.Context   // ends, with a cause, when no more acquires are taken
	Spawn func(func()) bool // runs a function on a goroutine, false once the process ends, which then revokes its leases

	Handoff time.Duration // for how long an entry passes on within the process
	Retains bool          // an entry may be retained
	Turns   int           // how many holds an entry serves after its first

	Locked   error                  // why a try fails when others are ahead
	Silent   error                  // why an acquire fails when etcd did not answer
	Released error                  // why an entry goes that was retained, for the log
	Lost     func(lease.Loss) error // why an acquire fails when its lease is lost

	Owner string // for the log
	Log   *slog.Logger
}

// A Set is the entries of a process, and its lanes. It is safe for concurrent use.
type Set struct {
	cfg Config

	// Lanes let one goroutine at a time deal with a key in etcd. Others than this package may take a lane that is vacant, and leave
	// it again.
	Lanes *Lanes
}

// Lanes are the lanes of a process, with which entries pass.
type Lanes = lane.Table[Caller, *Entry]

// A Waiter is a goroutine that waits for a lane.
type Waiter = lane.Waiter[Caller, *Entry]

// shareTerm is how long callers join those who share a lock after it was seen
// that nobody waits to hold it alone.
const shareTerm = 10 * time.Millisecond

// NewSet returns a Set without entries. It sends nothing.
func NewSet(cfg Config) *Set {
	return &Set{cfg: cfg, Lanes: lane.New[Caller](lane.Config[*Entry]{
		Stop:   cfg.Drain,
		Term:   shareTerm,
		Orphan: func(e *Entry) { e.Settle(ErrUnwanted, func() {}) },
	})}
}

// A Caller is who wants a lock, and how.
type Caller struct {
	Name        string
	Since       time.Time // when it began to wait
	Annotations map[string]string
	Want        Want

	seat int // in the lane, that it has got; 0: the lane itself
}

// A Want is what an acquire asks for.
type Want struct {
	record.Claim
	Seconds int64 // the TTL

	Reads []string // keys to be read
	Fresh bool     // as they are, and not as they are known to be

	Announces    bool // the entry is to be for one hold only, and announces something
	Announcement string
}

// An Ahead tells whom a caller waits for, or why a try fails.
type Ahead struct {
	Entry *mvccpb.KeyValue // the one directly ahead, in etcd; of a try, the first there
	Local bool             // it is By instead, in this process: the caller has no place in etcd's queue yet
	By    Caller
	N     int // how many are ahead: in this process if Local, else in etcd; 0 if that is not known
}

// A Grant is a lock as one caller gets it. The zero Grant is none.
type Grant struct {
	Entry *Entry // shared by several if the lock is
	Turn  int    // which hold under Entry it is, from 0; those who share it after the last turn all have that one
	Read  *record.Read
}

// newEntry returns an entry that is not in etcd yet.
func (s *Set) newEntry(key keyspace.Key, l *lease.Lease, as Caller) *Entry {
	r := record.Record{
		Owner:       as.Name,
		Mode:        as.Want.Mode(),
		Since:       as.Since,
		Annotations: as.Annotations,
		Slots:       as.Want.Slots,
		Weight:      as.Want.Weight,
	}
	r.Announce(as.Want.Announcement)
	e := &Entry{set: s, Entry: s.cfg.Queues.Entry(key, l, r, as.Want.Reads), Announces: as.Want.Announces, seat: as.seat}
	if e.seat > 0 { // each has an entry of its own
		e.Name += "." + strconv.Itoa(e.seat)
	}
	return e
}
