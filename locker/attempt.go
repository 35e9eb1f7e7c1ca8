package locker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/phpgao/elock/internal/callback"
	"github.com/phpgao/elock/internal/entry"
	"github.com/phpgao/elock/keyspace"
)

// An attempt is one acquire as hooks and others see it.
type attempt struct {
	l        *Locker
	key      keyspace.Key
	as       entry.Caller
	contexts callback.Contexts // of the hooks' AcquireStart
	ctx      context.Context   // with what they added
	waited   time.Duration     // until the answer
	over     bool              // AcquireEnd has been called
	grant    entry.Grant       // not yet a hold's; zero if there is none

	blocked bool  // it had to wait, or failed as a try
	blocker Owner // whom it was blocked by last
}

// failure returns err and the owner that was ahead, if that is why the acquire has
// failed.
func (a *attempt) failure(err error) (by *Owner, _ error) {
	done := a.ctx.Err()
	if a.blocked && done != nil && errors.Is(err, done) && !errors.Is(err, ErrUnavailable) {
		err = fmt.Errorf("%w: %w", err, ErrLocked)
	}
	if a.blocked && errors.Is(err, ErrLocked) {
		owner := a.blocker
		by = &owner
	}
	return by, err
}

// behind notes whom the acquire waits for, or has failed for as a try, and tells the hooks.
func (a *attempt) behind(ahead entry.Ahead) {
	d := BlockedData{Key: a.key, Local: ahead.Local, Ahead: ahead.N}
	if ahead.Local {
		d.By = Owner{Name: ahead.By.Name, Since: ahead.By.Since, Annotations: ahead.By.Annotations}
	} else {
		d.By = ownerOf(ahead.Entry)
	}
	a.blocker, a.blocked = d.By, true
	a.l.hooks.blocked(a.contexts, d)
}

// start calls AcquireStart. The caller must call end, even if start does not
// return.
func (a *attempt) start(ctx context.Context, try bool, r request) {
	a.as = entry.Caller{Name: a.l.owner, Since: time.Now(), Want: r.Want}
	a.as.Annotations = a.l.hooks.acquireStart(&a.contexts, ctx, AcquireStartData{Key: a.key, Try: try, TTL: r.ttl, Shared: r.Shared, Slots: r.Slots, Weight: r.Weight})
	a.ctx = a.contexts.Last(ctx)
}

// answered tells the hooks that the lock was granted, or why not.
func (a *attempt) answered(err error) {
	if a.over {
		return
	}
	a.over = true
	a.waited = time.Since(a.as.Since)
	end := AcquireEndData{Key: a.key, Waited: a.waited, Err: err}
	if err == nil {
		end.Token = tokenFor(a.grant)
	}
	a.l.hooks.acquireEnd(a.contexts, end)
}

// end does what is left to do if a hook has ended the goroutine.
func (a *attempt) end() {
	if e := a.grant.Entry; e != nil {
		defer entry.Abandon(entry.ErrUnwanted, e)
	}
	a.answered(entry.ErrUnwanted)
}

// begin makes a hold of the grant.
func (a *attempt) begin(r request) (*Hold, error) {
	l, e := a.l, a.grant.Entry
	h := l.newHold(a.ctx, a.grant, r.maxHeld)
	if r.atLeast > 0 {
		h.stayFor(r.atLeast)
	}
	a.grant = entry.Grant{}
	begun := false
	defer func() {
		if !begun { // the goroutine ends, or the callback panics: its own error is dropped
			_ = h.Release(a.ctx)
		}
	}()
	h.start(a.waited)
	if err := l.add(h); err != nil {
		begun = true
		defer e.Settle(err, func() {})
		h.end(err)
		h.notifyEnd()
		return nil, err
	}
	h.tellRisk()
	if l.onSuccess != nil {
		l.onSuccess(h.Key().String())
	}
	begun = true
	return h, nil
}
