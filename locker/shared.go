package locker

import (
	"context"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/keyspace"
)

// Shared makes an acquire share the lock with others that do: they hold it
// together, and those without it hold it alone. Both have their turn in the
// order of arrival, so neither kind can keep out the other: who comes to share
// while somebody waits to hold alone waits behind that one, but for the 10ms in
// which a process may not have seen that yet.
//
// Callers of one process that share at the same time have one entry in etcd,
// with the TTL of the first of them. Each has a Hold of its own and a token of
// its own. The token is greater than those of all who held alone before, and
// less than those of all who will; among holds that share at the same time it
// says nothing. A Fence holds for as long as nobody can hold alone, even after
// the release of its own hold if others of the process still share. Commit is not
// for shared holds.
func Shared() AcquireOption {
	return func(r *request) { r.shared = true }
}

// Shared reports whether the hold was acquired with the option Shared.
func (h *Hold) Shared() bool { return h.claim.rec.Mode == shared }

// shareTerm is how long callers join those who share a lock after it was seen
// that nobody waits to hold it alone.
const shareTerm = 10 * time.Millisecond

// A sharing is the holds of this process under one shared claim. It is guarded
// by the mutex of the claim's lane.
type sharing struct {
	claim    *claim // as the first of them got it
	readers  int
	grants   Token     // of the last of them
	until    time.Time // when the term ends
	checking bool      // somebody sees whether there may be another
}

// share lets others hold with c, which was granted: those of this process that
// are next in line now, and those who come.
func (q *lanes) share(c *claim) {
	p := q.part(c.key)
	p.mu.Lock()
	defer p.mu.Unlock()
	first := *c // c goes on with its owner
	first.read = nil
	c.sharing = &sharing{claim: &first, readers: 1, grants: c.grants, until: time.Now().Add(shareTerm)}
	first.sharing = c.sharing
	l := p.m[c.key]
	l.sharing = c.sharing
	l.admit()
}

// admit gives the lock to those who are next in line if they may share it. If
// they may not because the term is over, somebody sees to that. It is to be
// called whenever the front of the line, or what they may share, has changed.
func (l *lane) admit() {
	s := l.sharing
	for s != nil {
		e := l.waiters.Front()
		switch {
		case e == nil || !e.Value.(*turn).want.shared:
			return
		case s.open():
			l.give(e, s.join())
		default:
			if !s.checking {
				s.checking = true
				s.claim.l.spawn(s.claim.see)
			}
			return
		}
	}
}

// open reports whether one more may hold.
func (s *sharing) open() bool {
	return s != nil && time.Now().Before(s.until) && s.claim.lease.waits.Err() == nil && s.claim.lease.remaining() > 0
}

// join returns a claim for one more hold.
func (s *sharing) join() *claim {
	s.readers++
	s.grants = min(s.grants+1, maxGrants)
	c := *s.claim
	c.grants = s.grants
	c.lease.users.Add(1)
	return &c
}

// see lets callers share c for another term, as soon as nobody waits to hold it
// alone, for as long as there are any.
func (c *claim) see() {
	for wait := retryPause; !c.l.lanes.saw(c, c.unwanted()); wait = pause(c.lease.waits, wait) {
	}
}

// saw notes whether nobody waits to hold c alone. It reports whether nobody needs
// to look again.
func (q *lanes) saw(c *claim, unwanted bool) bool {
	p := q.part(c.key)
	p.mu.Lock()
	defer p.mu.Unlock()
	l, s := p.m[c.key], c.sharing
	if l == nil || l.sharing != s || c.lease.waits.Err() != nil {
		return true // who waits gets the lane
	}
	if unwanted {
		s.until = time.Now().Add(shareTerm)
		l.admit() // all of them, as checking is still set
	}
	e := l.waiters.Front()
	s.checking = e != nil && e.Value.(*turn).want.shared
	return !s.checking
}

// unwanted reports whether surely nobody waits behind c to hold it alone.
func (c *claim) unwanted() bool {
	ctx, cancel := context.WithTimeout(c.lease.waits, patience)
	defer cancel()
	resp, err := c.l.kv.Txn(ctx).Then(
		clientv3.OpGet(c.name),
		clientv3.OpGet(c.dir, clientv3.WithPrefix(), clientv3.WithMinCreateRev(c.rev+1)),
	).Commit()
	if err != nil {
		return false
	}
	own, behind := resp.Responses[0].GetResponseRange().Kvs, resp.Responses[1].GetResponseRange().Kvs
	return len(own) > 0 && c.is(own[0]) && !slices.ContainsFunc(leased(behind), alone)
}

// shared reports whether only those hold key in this process, and wait for it,
// who share it.
func (q *lanes) shared(key keyspace.Key) bool {
	p := q.part(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.m[key]
	if l == nil || l.sharing == nil {
		return false
	}
	for e := l.waiters.Front(); e != nil; e = e.Next() {
		if !e.Value.(*turn).want.shared {
			return false
		}
	}
	return true
}

// alone reports whether the owner of an entry does not share the lock.
func alone(kv *mvccpb.KeyValue) bool {
	r, ok := parseRecord(kv.Value)
	return !ok || r.Mode != shared
}

// sole reports whether nobody else holds with c, whose own hold has ended. Then
// the caller must see to c; otherwise c is done.
func (c *claim) sole() bool {
	s := c.sharing
	if s == nil {
		return true
	}
	p := c.l.lanes.part(c.key)
	p.mu.Lock()
	defer p.mu.Unlock()
	c.sharing = nil
	if s.readers--; s.readers > 0 {
		c.lease.part()
		return false
	}
	p.m[c.key].sharing = nil
	c.grants = s.grants
	return true
}
