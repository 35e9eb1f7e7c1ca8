package locker

import (
	"context"
	"time"
)

// settle removes c from etcd on a goroutine, trying until it is done or the
// lease has ended, then opens the lane, and calls then.
func (c *claim) settle(cause error, then func()) {
	if !c.sole() {
		then()
		return
	}
	finish := func() {
		c.done()
		then()
	}
	if !c.l.spawn(func() { c.clean(cause); finish() }) {
		finish() // Close revokes the lease
	}
}

func (c *claim) clean(cause error) {
	if c.heir != nil {
		defer c.heir.clean(cause) // once c is gone, it cannot come any more
	}
	logged := false
	for wait := retryPause; c.lease.ctx.Err() == nil; wait = pause(c.lease.ctx, wait) {
		ctx, cancel := context.WithTimeout(c.lease.ctx, patience)
		deleted, err := c.remove(ctx)
		cancel()
		if err == nil {
			if !deleted && c.rev == 0 {
				c.l.suspect(c)
			}
			return
		}
		if !logged && c.lease.ctx.Err() == nil {
			c.l.log.Warn("elock: lock not freed, trying on", "key", c.key.String(), "owner", c.l.owner, "after", cause, "err", err)
			logged = true
		}
	}
}

// A suspect is a claim whose write was given up and was not there when looked
// for. A paused or cut-off member may yet commit it, and then it would block
// the lock for as long as the lease is kept.
type suspect struct {
	c     *claim
	until instant
}

// suspicion is how long a write is looked for. etcd itself gives up a request
// after some 7 seconds; a paused member can be later.
const suspicion = time.Minute

func (l *Locker) suspect(c *claim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.lease.suspects = append(c.lease.suspects, suspect{c, l.now().add(suspicion)})
}

// catchSuspects removes the writes under s that were committed late.
func (l *Locker) catchSuspects(s *lease) {
	ctx, cancel := context.WithTimeout(s.ctx, s.ttl/4)
	defer cancel()
	l.mu.Lock()
	all := s.suspects
	s.suspects = nil
	l.mu.Unlock()
	for _, x := range all {
		deleted, err := x.c.remove(ctx)
		switch {
		case deleted:
			l.log.Info("elock: removed an entry that was written late", "key", x.c.key.String(), "owner", l.owner)
		case err != nil || x.until.until(l.now()) > 0:
			l.mu.Lock()
			s.suspects = append(s.suspects, x)
			l.mu.Unlock()
		}
	}
}
