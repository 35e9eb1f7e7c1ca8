package locker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/phpgao/elock/keyspace"
)

// A Job is work for RunJobInLock.
type Job interface{ Run() }

// Lock locks key for ttl seconds beyond the life of this process, and keeps it
// locked until Unlock. It fails at once with ErrLocked when the key is held,
// elsewhere or by this Locker, and with ErrInvalidTTL unless ttl is positive.
// ctx bounds the call, not the hold.
func (l *Locker) Lock(ctx context.Context, key string, ttl int) error {
	_, err := l.lock(ctx, key, ttl, func(r *request) { r.tenant = true })
	if err != nil {
		return &Error{Op: "lock", Key: key, Err: err}
	}
	return nil
}

func (l *Locker) lock(ctx context.Context, key string, ttl int, opts ...AcquireOption) (*Hold, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	k, err := keyspace.Parse(key)
	if err != nil {
		return nil, err
	}
	if ttl <= 0 || int64(ttl) > maxTTL {
		return nil, fmt.Errorf("%w: %d s", ErrInvalidTTL, ttl)
	}
	return l.acquire(ctx, k, true, append(opts, TTL(time.Duration(ttl)*time.Second)))
}

// Unlock releases what Lock locked, as Hold.Release does. It gives ErrNotHeld
// if the key is not locked by Lock.
//
// If the lock had ended before, Unlock gives the reason, such as ErrMaxHeld or
// a LostError, and touches nothing: not even when the key was locked again
// meanwhile, here or elsewhere. So each Lock wants one Unlock.
//
// An Unlock that etcd does not answer goes on in the background. There is no
// need to repeat it, and no sense once the key may have been locked again: a
// name alone does not tell the two locks apart. A Hold does.
func (l *Locker) Unlock(ctx context.Context, key string) error {
	if err := l.unlock(ctx, key); err != nil {
		return &Error{Op: "unlock", Key: key, Err: err}
	}
	return nil
}

func (l *Locker) unlock(ctx context.Context, key string) error {
	if err := l.check(); err != nil {
		return err
	}
	k, err := keyspace.Parse(key)
	if err != nil {
		return err
	}
	h := l.tenants.leave(k)
	if h == nil {
		return ErrNotHeld
	}
	err = h.release(ctx)
	if h.unsettled() {
		l.tenants.restore(h)
	}
	return err
}

// RunFuncInLock locks key as Lock does, sleeps as WithRandomSleep says, runs
// fn, and unlocks in every case, also when fn panics. It returns how long fn
// ran. If the lock was lost meanwhile the error says so; fn is not told.
func (l *Locker) RunFuncInLock(ctx context.Context, key string, ttl int, fn func()) (time.Duration, error) {
	if fn == nil {
		return 0, &Error{Op: "run", Key: key, Err: invalid("nil function")}
	}
	h, err := l.lock(ctx, key, ttl)
	if err != nil {
		return 0, &Error{Op: "run", Key: key, Err: err}
	}
	var ran time.Duration
	err = h.Run(func(ctx context.Context, h *Hold) error {
		if err := l.sleep(ctx, h); err != nil {
			return err
		}
		began := time.Now()
		defer func() { ran = time.Since(began) }()
		fn()
		return nil
	})
	return ran, err
}

// RunJobInLock is RunFuncInLock for a Job.
func (l *Locker) RunJobInLock(ctx context.Context, key string, ttl int, job Job) (time.Duration, error) {
	if job == nil {
		return 0, &Error{Op: "run", Key: key, Err: invalid("nil job")}
	}
	return l.RunFuncInLock(ctx, key, ttl, job.Run)
}

// sleep sleeps as WithRandomSleep says. It fails when the hold ends meanwhile,
// or ctx, under which the function would run.
func (l *Locker) sleep(ctx context.Context, h *Hold) error {
	if l.sleepMax > 0 {
		d := l.sleepMin
		if l.sleepMin < l.sleepMax {
			d += rand.N(l.sleepMax - l.sleepMin)
		}
		pause(ctx, d)
	}
	if h.ending() == nil && ctx.Err() != nil {
		return &Error{Op: "run", Key: h.names(), Err: ctxError(ctx)}
	}
	return h.Err() // by the clocks: the machine may have slept
}
