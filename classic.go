package elock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// A Job is work for RunJobInLock.
type Job interface{ Run() }

// Lock locks key for ttl seconds beyond the life of this process, and keeps it
// locked until Unlock. It fails at once with locker.ErrLocked when the key is
// held, elsewhere or by this ELocker, and with locker.ErrInvalidTTL unless ttl is
// positive. ctx bounds the call, not the hold.
func (e *ELocker) Lock(ctx context.Context, key string, ttl int) error {
	h, err := e.try(ctx, key, ttl)
	if err != nil {
		return failed("lock", key, err)
	}
	e.holds.add(h)
	e.succeeded(ctx, key, h)
	return nil
}

// Unlock releases what Lock locked, as locker.Hold.Release does. It gives
// locker.ErrNotHeld if the key is not locked by Lock.
//
// If the lock had ended before, Unlock gives the reason, such as
// locker.ErrMaxHeld or a *locker.LostError, and touches nothing: not even when the
// key was locked again meanwhile, here or elsewhere. So each Lock wants one Unlock.
//
// An Unlock that etcd does not answer goes on in the background. There is no
// need to repeat it, and no sense once the key may have been locked again: a
// name alone does not tell the two locks apart. A locker.Hold does.
func (e *ELocker) Unlock(ctx context.Context, key string) error {
	k, err := e.parse(key)
	if err != nil {
		return failed("unlock", key, err)
	}
	h := e.holds.take(k)
	if h == nil {
		return failed("unlock", key, locker.ErrNotHeld)
	}
	if err := h.Release(ctx); err != nil {
		if errors.Is(h.Err(), locker.ErrReleased) {
			e.holds.restore(h) // not confirmed: another Unlock may ask again
		}
		return failed("unlock", key, err)
	}
	return nil
}

// RunFuncInLock locks key as Lock does, sleeps as WithRandomSleep says, runs
// fn, and unlocks in every case, also when fn panics. It returns how long fn
// ran. If the lock was lost meanwhile the error says so; fn does not learn of it.
func (e *ELocker) RunFuncInLock(ctx context.Context, key string, ttl int, fn func()) (time.Duration, error) {
	if fn == nil {
		return 0, failed("run", key, invalid("nil function"))
	}
	h, err := e.try(ctx, key, ttl)
	if err != nil {
		return 0, failed("run", key, err)
	}
	e.succeeded(ctx, key, h)
	var ran time.Duration
	err = h.Run(func(ctx context.Context, h *locker.Hold) error {
		if err := e.sleep(ctx, h); err != nil {
			return failed("run", key, err)
		}
		began := time.Now()
		defer func() { ran = time.Since(began) }()
		fn()
		return nil
	})
	return ran, err
}

// RunJobInLock is RunFuncInLock for a Job.
func (e *ELocker) RunJobInLock(ctx context.Context, key string, ttl int, job Job) (time.Duration, error) {
	if job == nil {
		return 0, failed("run", key, invalid("nil job"))
	}
	return e.RunFuncInLock(ctx, key, ttl, job.Run)
}

// try acquires key, without a wait for its holder.
func (e *ELocker) try(ctx context.Context, key string, ttl int) (*locker.Hold, error) {
	k, err := e.parse(key)
	if err != nil {
		return nil, err
	}
	d := time.Duration(ttl) * time.Second
	if d/time.Second != time.Duration(ttl) { // above what etcd takes, by far
		return nil, fmt.Errorf("%w: %d s", locker.ErrInvalidTTL, ttl)
	}
	return e.locker.TryAcquire(ctx, k, locker.TTL(d))
}

// parse returns the key of that name, if e takes calls.
func (e *ELocker) parse(key string) (keyspace.Key, error) {
	if err := e.check(); err != nil {
		return keyspace.Key{}, err
	}
	return keyspace.Parse(key)
}

// succeeded calls the success callback. If that does not return, h is released.
func (e *ELocker) succeeded(ctx context.Context, key string, h *locker.Hold) {
	if e.onSuccess == nil {
		return
	}
	returned := false
	defer func() {
		if !returned {
			e.holds.remove(h)
			_ = h.Release(ctx) // the panic says more
		}
	}()
	e.onSuccess(key)
	returned = true
}

// sleep sleeps as WithRandomSleep says. It fails when h ends meanwhile, or ctx,
// under which the function would run.
func (e *ELocker) sleep(ctx context.Context, h *locker.Hold) error {
	d := e.sleepMin
	if e.sleepMin < e.sleepMax {
		d += rand.N(e.sleepMax - e.sleepMin)
	}
	if d > 0 {
		wake := time.NewTimer(d)
		defer wake.Stop()
		select {
		case <-wake.C:
		case <-ctx.Done():
		}
	}
	if err := h.Err(); err != nil { // by the clocks: the machine may have slept
		return err
	}
	return contextError(ctx)
}

// failed returns err as that of an operation on key.
func failed(op, key string, err error) error {
	f := &locker.Error{Op: op, Key: key, Err: err}
	if e, ok := err.(*locker.Error); ok {
		f.Err, f.Blocker = e.Err, e.Blocker
	}
	return f
}

// contextError returns the error of a context that is done, and its cause where
// that says more.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if err == nil || errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}
