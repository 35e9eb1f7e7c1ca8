// Package health judges by the calls that are made anyway whether etcd answers.
package health

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/phpgao/elock/internal/clock"
)

const (
	// Lasting is for how long calls must fail, with no success between, to count as more than a leader that changes or an
	// answer that is lost.
	Lasting = 2 * time.Second
	// fresh is how long a failure says something of the present. Calls that are tried again fail more often than that.
	fresh = 30 * time.Second
	// Patience is how long a call must have waited in vain to count as a failure. Its caller may have given it up earlier.
	Patience = 500 * time.Millisecond
)

// A Signal is what is known from one kind of calls. The zero Signal knows nothing. Its methods may be called from several
// goroutines.
type Signal struct {
	answered atomic.Int64 // when a call was last answered; times are clock.Mono, and 0 is never

	mu          sync.Mutex // guards what follows, which is of failures since the last answer
	first, last int64
	err         error
}

// Answered notes that etcd has answered a call.
func (s *Signal) Answered() { s.answered.Store(clock.Mono()) }

// Failed notes that a call that was sent at that time, by clock.Mono, has failed for want of etcd.
func (s *Signal) Failed(sent int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := clock.Mono()
	sent = max(sent, s.answer())
	if !s.current(now) || sent < s.first {
		s.first = sent
	}
	s.last, s.err = now, err
}

// Silence returns since when calls fail, and with which error the last one did; the zero time if nothing says that they do.
func (s *Signal) Silence() (since time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := clock.Mono()
	if !s.current(now) || s.last-s.first < int64(Lasting) {
		return time.Time{}, nil
	}
	return time.Now().Add(-time.Duration(now - s.first)), s.err
}

// current reports whether the last failure says something of now. The caller holds mu.
func (s *Signal) current(now int64) bool {
	return s.err != nil && s.last > s.answer() && now-s.last <= int64(fresh)
}

// answer is when a call was last answered, perhaps never.
func (s *Signal) answer() int64 {
	if at := s.answered.Load(); at != 0 {
		return at
	}
	return math.MinInt64 / 2
}
