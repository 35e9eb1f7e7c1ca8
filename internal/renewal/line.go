package renewal

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/clock"
)

// maxWait is the longest pause before another stream is opened.
const maxWait = time.Second

// Config says what a Line works with. All fields but Stream must be set.
type Config struct {
	Stream func(context.Context) (pb.Lease_LeaseKeepAliveClient, error) // opens a stream of renewals; nil: each renewal is a call of its own
	Once   func(context.Context, clientv3.LeaseID) (*clientv3.LeaseKeepAliveResponse, error)
	Base   context.Context   // ends all
	Spawn  func(func()) bool // runs a function on a goroutine, false once the process ends
}

// A Request asks for one renewal.
type Request[L any] struct {
	Lease    L // what the answer is for
	ID       clientv3.LeaseID
	Context  context.Context // ends a call
	Patience time.Duration   // bounds a call
}

// A Line is the way on which renewals go to etcd. One goroutine at a time may
// use it.
type Line[L any] struct {
	cfg     Config
	answers chan Answer[L]
	current *stream[L]
	former  *stream[L]
	wait    time.Duration // before the next stream is opened
	opened  clock.Instant // when the last one was
}

// An Answer is what came back: of a renewal, or that a stream is broken. It is
// for Take.
type Answer[L any] struct {
	stream *stream[L] // nil: of a call of its own
	call   sent[L]    // that call
	id     int64
	ttl    int64
	err    error
	broken bool
}

// A stream is one stream of renewals, with a goroutine for each direction.
type stream[L any] struct {
	cancel  context.CancelFunc
	out     chan []int64
	pending map[int64]sent[L] // of the one who uses the Line
}

type sent[L any] struct {
	lease L
	at    clock.Instant
}

// New returns a Line without a stream. It sends nothing.
func New[L any](cfg Config) *Line[L] {
	return &Line[L]{cfg: cfg, answers: make(chan Answer[L], 16)}
}

// Answers is where answers come. Each is to be given to Take.
func (n *Line[L]) Answers() <-chan Answer[L] { return n.answers }

// Close ends the streams. A further Send opens another.
func (n *Line[L]) Close() {
	for _, st := range []*stream[L]{n.current, n.former} {
		if st != nil {
			st.cancel()
		}
	}
	n.current, n.former = nil, nil
}

// Send sends renewals, now being the present. It reports false if it sends none,
// and when to try again: etcd refuses streams, or breaks them at once.
func (n *Line[L]) Send(rs []Request[L], now clock.Instant) (again clock.Instant, ok bool) {
	if len(rs) == 0 {
		return now, true
	}
	if n.cfg.Stream == nil {
		for _, r := range rs {
			n.cfg.Spawn(func() { n.call(r, now) })
		}
		return now, true
	}
	if n.current == nil {
		if again = n.opened.Add(n.wait); again.Until(now) > 0 {
			return again, false
		}
		n.open(now)
	}
	st := n.current
	ids := make([]int64, len(rs))
	for i, r := range rs {
		ids[i] = int64(r.ID)
		st.pending[ids[i]] = sent[L]{r.Lease, now}
	}
	select {
	case st.out <- ids:
	default: // it takes nothing any more: the answers become overdue
	}
	return now, true
}

// Overdue says that the answer for a lease is overdue. Renewals go over another
// stream from then on, unless they do already.
func (n *Line[L]) Overdue(id clientv3.LeaseID) {
	st := n.current
	if st == nil {
		return
	}
	if _, ok := st.pending[int64(id)]; !ok {
		return // it was sent on the former
	}
	if n.former != nil {
		n.former.cancel()
	}
	n.former, n.current = st, nil
	n.wait = 0
}

// Take calls answered with each lease that an answer is for: with the TTL in
// seconds that etcd gave it, at most 0 if it has expired, or with the error.
// sent is when the renewal was sent.
func (n *Line[L]) Take(a Answer[L], answered func(of L, sent clock.Instant, ttl int64, err error)) {
	switch {
	case a.broken:
		n.broken(a.stream)
		// What it broke with says nothing of a lease.
		err := fmt.Errorf("renewal: the stream broke: %v", a.err)
		for _, p := range a.stream.pending {
			answered(p.lease, p.at, 0, err)
		}
	case a.stream == nil:
		answered(a.call.lease, a.call.at, a.ttl, a.err)
	default:
		n.wait = 0
		if p, ok := a.stream.pending[a.id]; ok {
			delete(a.stream.pending, a.id)
			answered(p.lease, p.at, a.ttl, nil)
		}
	}
}

// broken forgets a stream.
func (n *Line[L]) broken(st *stream[L]) {
	if n.current == st {
		n.current = nil
	}
	if n.former == st {
		n.former = nil
	}
}

// call makes a renewal by a call of its own.
func (n *Line[L]) call(r Request[L], now clock.Instant) {
	ctx, cancel := context.WithTimeout(r.Context, r.Patience)
	defer cancel()
	resp, err := n.cfg.Once(ctx, r.ID)
	a := Answer[L]{call: sent[L]{r.Lease, now}, err: err}
	if err == nil {
		a.ttl = resp.TTL
	}
	select {
	case n.answers <- a:
	case <-n.cfg.Base.Done():
	}
}
