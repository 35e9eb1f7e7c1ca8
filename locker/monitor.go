package locker

import (
	"context"
	"time"

	"github.com/phpgao/elock/internal/callback"
	"github.com/phpgao/elock/internal/xctx"
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
		for _, h := range l.holds.All(overdue) {
			l.background(func() { l.expire(h) })
		}
	}
}

// expire ends one hold: its context first, then its lock.
func (l *Locker) expire(h *Hold) {
	held := time.Since(h.since)
	done, others := h.end(ErrMaxHeld)
	if !done {
		return
	}
	l.finish(others, (*Hold).endedWithOthers)
	l.hooks.Apart(h.notifyEnd)
	key := h.Key()
	l.log.Warn("elock: lock held too long, releasing it", "key", key.String(), "owner", l.owner, "held", held, "limit", h.maxHeld)
	var t callback.Contexts
	l.hooks.Apart(func() {
		l.hooks.timeoutStart(&t, h.caller, TimeoutStartData{Key: key, Token: h.token, Held: held, Limit: h.maxHeld, Shared: h.Shared(), Slots: h.entry.Slots, Weight: h.entry.Weight})
	})
	caller, cancel := xctx.Merge(context.WithoutCancel(t.Last(h.caller)), l.ctx)
	ctx := l.etcd.Detached(caller)
	err := h.free(ctx)
	ctx.Stop()
	cancel()
	l.hooks.Apart(func() { l.hooks.timeoutEnd(t, TimeoutEndData{Key: key, Token: h.token, Err: err}) })
	if l.onTimeout != nil {
		go l.timeout(key.String(), held)
	}
}

// timeout runs the user's callback.
func (l *Locker) timeout(key string, held time.Duration) {
	callback.Call(func() { l.onTimeout(key, held) }, func(panicked any, stack string) {
		if panicked != nil {
			l.log.Error("elock: timeout callback panicked", "key", key, "owner", l.owner, "panic", panicked, "stack", stack)
		}
	})
}
