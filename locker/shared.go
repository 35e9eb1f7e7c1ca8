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
// while somebody waits to hold alone waits behind that one.
//
// Callers of one process that share at the same time have one entry in etcd,
// with the TTL of the first of them. Each has a Hold of its own and a token of
// its own. The token is greater than those of all who held alone before, and
// less than those of all who will; among holds that share at the same time it
// says nothing. A Fence holds for as long as nobody can hold alone. Commit is
// not for shared holds.
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
	until    time.Time // surely nobody waits before that; then see
	checking bool      // somebody sees
}

// share lets others hold with c, which was granted: those of this process that
// are next in line now, and those who come.
func (q *lanes) share(c *claim) {
	p := q.part(c.key)
	p.mu.Lock()
	defer p.mu.Unlock()
	first := *c // c goes on with its owner
	c.sharing = &sharing{claim: &first, readers: 1, grants: c.grants, until: c.granted.Add(shareTerm)}
	first.sharing = c.sharing
	l := p.m[c.key]
	l.sharing = c.sharing
	l.admit()
}

// admit gives the lock to those who are next in line if they may share it.
func (l *lane) admit() {
	for e := l.waiters.Front(); e != nil && e.Value.(*turn).want.shared && l.sharing.open(); e = l.waiters.Front() {
		t := l.waiters.Remove(e).(*turn)
		t.claim = l.sharing.join()
		close(t.mine)
	}
}

// open reports whether one more may hold.
func (s *sharing) open() bool {
	return s != nil && time.Now().Before(s.until) && s.grants < maxGrants &&
		s.claim.lease.waits.Err() == nil && s.claim.lease.remaining() > 0
}

// join returns a claim for one more hold.
func (s *sharing) join() *claim {
	s.readers++
	s.grants++
	c := *s.claim
	c.read, c.grants = nil, s.grants
	c.lease.users.Add(1)
	return &c
}

// shared reports whether holds still share c.
func (q *lanes) shared(c *claim) bool {
	p := q.part(c.key)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.m[c.key] != nil && p.m[c.key].sharing == c.sharing && c.lease.waits.Err() == nil
}

// stale returns the claim that the holds of key share if whoever joins them has
// to see first whether others wait. If so, the caller must call renew.
func (q *lanes) stale(key keyspace.Key) *claim {
	p := q.part(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.m[key]
	if l == nil || l.sharing == nil || l.sharing.checking || l.waiters.Len() > 0 || time.Now().Before(l.sharing.until) {
		return nil
	}
	l.sharing.checking = true
	return l.sharing.claim
}

// renew notes that nobody waited before that time, if known.
func (q *lanes) renew(c *claim, until time.Time) {
	p := q.part(c.key)
	p.mu.Lock()
	defer p.mu.Unlock()
	c.sharing.checking = false
	if l := p.m[c.key]; l != nil && l.sharing == c.sharing {
		c.sharing.until = until
		l.admit()
	}
}

// welcome sees to it that callers may join those who share key, unless somebody
// waits to hold it alone. Then, and while etcd is silent, they wait in line.
func (l *Locker) welcome(ctx context.Context, key keyspace.Key) {
	c := l.lanes.stale(key)
	if c == nil {
		return
	}
	until := c.unwanted(ctx)
	if !until.IsZero() {
		l.lanes.renew(c, until)
		return
	}
	l.spawn(func() {
		for wait := retryPause; until.IsZero() && l.lanes.shared(c); until = c.unwanted(c.lease.waits) {
			wait = pause(c.lease.waits, wait)
		}
		l.lanes.renew(c, until)
	})
}

// unwanted returns until when surely nobody waits behind c to hold alone; the
// zero time if that is not known.
func (c *claim) unwanted(ctx context.Context) (until time.Time) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	asked := time.Now()
	resp, err := c.l.kv.Txn(ctx).Then(
		clientv3.OpGet(c.name),
		clientv3.OpGet(c.dir, clientv3.WithPrefix(), clientv3.WithMinCreateRev(c.rev+1)),
	).Commit()
	if err != nil {
		return until
	}
	own, behind := resp.Responses[0].GetResponseRange().Kvs, resp.Responses[1].GetResponseRange().Kvs
	if len(own) == 0 || !c.is(own[0]) || slices.ContainsFunc(leased(behind), alone) {
		return until
	}
	return asked.Add(shareTerm)
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
