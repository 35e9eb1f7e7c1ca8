package elock

import (
	"context"
	"errors"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/locker"
)

// ErrNoInstance says that RunFuncInLock or RunJobInLock was called before
// GetELockerInstance had made an ELocker.
var ErrNoInstance = errors.New("elock: no instance; call GetELockerInstance first")

var instance struct {
	mu sync.Mutex
	e  *ELocker // guarded by mu; nil until GetELockerInstance has made it
}

// GetELockerInstance returns the ELocker that the whole process shares. The first
// call makes it, as NewELocker does; the arguments of later calls do not count.
// An ELocker that comes of a bad client or option is returned, but not kept: the
// next call makes another.
func GetELockerInstance(client *clientv3.Client, opts ...Opt) *ELocker {
	instance.mu.Lock()
	defer instance.mu.Unlock()
	if instance.e != nil {
		return instance.e
	}
	e := NewELocker(client, opts...)
	if e.err == nil {
		instance.e = e
	}
	return e
}

// RunFuncInLock is RunFuncInLock of the ELocker that GetELockerInstance has made.
// Before that, it is ErrNoInstance.
func RunFuncInLock(ctx context.Context, key string, ttl int, fn func()) (time.Duration, error) {
	e, err := existing(key)
	if err != nil {
		return 0, err
	}
	return e.RunFuncInLock(ctx, key, ttl, fn)
}

// RunJobInLock is RunFuncInLock for a Job.
func RunJobInLock(ctx context.Context, key string, ttl int, job Job) (time.Duration, error) {
	e, err := existing(key)
	if err != nil {
		return 0, err
	}
	return e.RunJobInLock(ctx, key, ttl, job)
}

// existing returns the instance, for a run under the lock key.
func existing(key string) (*ELocker, error) {
	instance.mu.Lock()
	defer instance.mu.Unlock()
	if instance.e == nil {
		return nil, &locker.Error{Op: "run", Key: key, Err: ErrNoInstance}
	}
	return instance.e, nil
}
