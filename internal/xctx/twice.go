package xctx

import (
	"context"
	"time"
)

// Twice calls f, and once more at the same time if that takes longer than d: it
// may have met a member of etcd that swallows everything, and etcd's client
// picks another for the second call. It returns the first success, or else the
// last error. twice says that f was called a second time; second, that it is
// the second call that was answered first. The other call's context is
// cancelled then.
func Twice[T any](ctx context.Context, d time.Duration, f func(context.Context) (T, error)) (v T, twice, second bool, err error) {
	type result struct {
		v      T
		err    error
		second bool
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result, 2)
	call := func(second bool) {
		v, err := f(ctx)
		results <- result{v, err, second}
	}
	go call(false)
	timer := time.NewTimer(d)
	defer timer.Stop()
	for left := 1; ; {
		select {
		case r := <-results:
			if left--; r.err == nil || left == 0 {
				return r.v, twice, r.second, r.err
			}
		case <-timer.C:
			twice = true
			left++
			go call(true)
		}
	}
}
