package locker

import (
	"context"
	"runtime/debug"
	"time"
)

// monitor ends holds that last too long.
func (l *Locker) monitor() {
	tick := time.NewTicker(l.monitorTicks)
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-tick.C:
		}
		overdue := func(h *Hold) bool { return h.maxHeld > 0 && time.Since(h.since) > h.maxHeld }
		for _, h := range l.holds.all(overdue) {
			l.spawn(func() { l.expire(h) })
		}
		l.tenants.sweep()
	}
}

// expire ends one hold: its context first, then its lock.
func (l *Locker) expire(h *Hold) {
	held := time.Since(h.since)
	if !h.end(ErrMaxHeld) {
		return
	}
	h.ended()
	key := h.Key()
	l.log.Warn("elock: lock held too long, releasing it", "key", key.String(), "owner", l.owner, "held", held, "limit", h.maxHeld)
	t := l.hooks.timeoutStart(h.caller, TimeoutStartData{Key: key, Token: h.token, Held: held, Limit: h.maxHeld, Shared: h.Shared()})
	caller, cancel := either(context.WithoutCancel(t.last(h.caller)), l.ctx)
	ctx := l.detached(caller)
	err := h.free(ctx)
	ctx.stop()
	cancel()
	l.hooks.timeoutEnd(t, TimeoutEndData{Key: key, Token: h.token, Err: err})
	if l.onTimeout != nil {
		go l.timeout(key.String(), held)
	}
}

// timeout runs the user's callback.
func (l *Locker) timeout(key string, held time.Duration) {
	defer func() {
		if p := recover(); p != nil {
			l.log.Error("elock: timeout callback panicked", "key", key, "owner", l.owner, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	l.onTimeout(key, held)
}
