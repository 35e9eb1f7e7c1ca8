package nemesis_test

import (
	"slices"
	"time"

	"github.com/phpgao/elock/locker"
)

// A history is all that is known after a run.
type history struct {
	holds  []hold
	ops    []operation      // on the fenced registers
	chains map[int][]commit // of the fenced registers, by key, in etcd's order
	acts   []act
	faults []window

	resumed  []int64             // when members that were paused went on
	promises map[int64][]promise // etcd's, by lease
	fates    map[entry]fate      // of entries that are gone
	failures []failure
	runs     []run // of ticks
}

// A promise is etcd's answer to a client that granted or renewed a lease.
type promise struct {
	call int64
	ttl  time.Duration
}

// A hold is one grant and its end.
type hold struct {
	client, key int
	token       uint64
	lease       int64  // 0 if unknown, as its client had no answer from etcd
	asked       int64  // before
	granted     int64  // after
	seen        int64  // when its client last knew that it held, by Err or by a release that was confirmed
	believed    int64  // when it last knew by Err
	ended       int64  // after its client knew, or was dead
	err         string // why it ended: "" for a confirmed release
}

// A failure is an acquire that failed.
type failure struct {
	client, key int
	call, at    int64
	err         string
}

// killed is the err of a hold whose client was killed.
const killed = "client killed"

// An operation is a read or a write of a fenced register.
type operation struct {
	client, key int
	write       bool
	value, prev int64
	token       uint64
	call, at    int64
	err         string // of a write: "", fenced, or why nobody knows
}

// A commit is a write that etcd has made.
type commit struct {
	value, prev int64
	token       uint64
	rev         int64
	times       int64 // how often it was made
}

// An entry is a key in etcd that stands for a lock, by its create revision. It may serve several holds of one process, one
// after the other, without contacting etcd.
type entry struct {
	key int
	rev int64
}

func (h hold) entry() entry { return entry{h.key, int64(h.token >> 16)} }

const (
	deleted = "key deleted"
	evicted = "lock evicted"
	revoked = "lease revoked"
)

// An act takes a lock away from its holder.
type act struct {
	name     string  // deleted, evicted or revoked
	lease    int64   // 0 if only one lock is meant
	entries  []entry // that are struck, as far as known before
	from, to int64
}

// strikes reports whether a takes the lock of h away. It can also have done so before h was granted: for a while a process
// may pass on what it has lost.
func (a act) strikes(h hold) bool {
	if a.lease != 0 && h.lease != 0 {
		return a.lease == h.lease && a.from <= h.ended
	}
	return a.from <= h.ended && slices.Contains(a.entries, h.entry())
}

// actsOn are those that struck x. An eviction may find another holder than the one that was there just before: then it is the
// last one of its key before x was told.
func (h history) actsOn(x hold) (all []act) {
	var eviction []act
	for _, a := range h.acts {
		if a.strikes(x) {
			all = append(all, a)
		} else if a.name == evicted && a.entries[0].key == x.key && a.from <= x.ended {
			eviction = []act{a}
		}
	}
	if len(all) == 0 && x.err == locker.ReasonEvicted.String() {
		return eviction
	}
	return all
}

// A window is when something went on.
type window struct {
	name     string
	from, to int64
}

// disturbed reports whether a fault may have been felt between from and to.
func (h history) disturbed(from, to int64) bool {
	return slices.ContainsFunc(h.faults, func(f window) bool { return f.from < to && f.to+int64(aftermath) > from })
}

// acted reports whether an operator's act may have been felt between from and to.
func (h history) acted(from, to int64) bool {
	return slices.ContainsFunc(h.acts, func(a act) bool { return a.from < to && a.to+int64(aftermath) > from })
}
