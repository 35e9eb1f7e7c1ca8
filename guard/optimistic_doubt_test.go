package guard_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"testing/synctest"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// The answer to a commit without the lock is lost, or the commit itself.
func TestALostAnswerWithoutTheLock(t *testing.T) {
	t.Parallel()
	type call func(ctx context.Context, g *guard.Guard[int]) error
	update := call(func(ctx context.Context, g *guard.Guard[int]) error { _, err := g.Update(ctx, increment); return err })
	remove := call(func(ctx context.Context, g *guard.Guard[int]) error { return g.Delete(ctx) })
	put := func(value string) func(t *testing.T, s store) {
		return func(t *testing.T, s store) { s.put(t, value) }
	}
	for name, c := range map[string]struct {
		call   call
		carry  bool                        // the commit is carried out
		before func(t *testing.T, s store) // what a stranger does instead of it; nil: nothing
		after  func(t *testing.T, s store) // what a stranger does after it
		late   bool                        // the commit is carried out after the call
		want   error                       // of the call; nil: none
		value  int                         // what is stored then
	}{
		"the answer":                                   {call: update, carry: true, want: locker.ErrOutcomeUnknown, value: 2},
		"the answer, and others go on":                 {call: update, carry: true, after: put("9"), want: locker.ErrOutcomeUnknown, value: 9},
		"the request":                                  {call: update, value: 2},
		"the request, which comes late":                {call: update, late: true, value: 2},
		"the request, as another stores":               {call: update, before: put("7"), value: 8},
		"the request, as another stores the same":      {call: update, before: put("2"), want: locker.ErrOutcomeUnknown, value: 2},
		"the request, as another deletes":              {call: update, before: func(t *testing.T, s store) { s.delete(t) }, want: locker.ErrOutcomeUnknown, value: absent},
		"the answer to a deletion":                     {call: remove, carry: true, value: absent},
		"the answer to a deletion, and others go on":   {call: remove, carry: true, after: put("9"), want: locker.ErrOutcomeUnknown, value: 9},
		"the request of a deletion":                    {call: remove, value: absent},
		"the request of a deletion, as another stores": {call: remove, before: put("7"), value: absent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inMemory(t, func(t *testing.T, s store) {
				s.put(t, "1")
				var once atomic.Bool
				var lost func()
				f := &tap{around: func(ctx context.Context, tx txn, send send) (answer, error) {
					if !(tx.puts(s.name()) || tx.deletes(s.name())) || !once.CompareAndSwap(false, true) {
						return send(ctx)
					}
					lost = func() { _, _ = send(context.Background()) }
					if c.before != nil {
						c.before(t, s)
					}
					if c.carry {
						lost()
					}
					if c.after != nil {
						c.after(t, s)
					}
					return nil, errAnswer
				}}
				g := alone(s.lockerOn(t, tapped(s.client, f)))
				err := c.call(t.Context(), g)
				if !errors.Is(err, c.want) || errors.Is(err, guard.ErrFenced) {
					t.Errorf("got error %v, want %v", err, c.want)
				}
				if c.late {
					lost()
				}
				v, err := g.GetVersion(t.Context())
				wantVersion(t, v, err, c.value)
				wantFree(t, s.lockerOn(t, s.client))
			})
		})
	}
}

// Nothing is known of the commit, and what would settle it fails too.
func TestADoubtWithoutTheLockStaysOne(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		then func(l *locker.Locker, cancel context.CancelFunc) // when the answer is lost
		fn   error                                             // of the function under the lock
		want error
	}{
		"as the function fails": {then: func(*locker.Locker, context.CancelFunc) {}, fn: errMine, want: errMine},
		"as ctx ends":           {then: func(_ *locker.Locker, cancel context.CancelFunc) { cancel() }, want: context.Canceled},
		"as etcd is away":       {then: func(a *locker.Locker, _ context.CancelFunc) { lockertest.Disconnect(a) }, want: locker.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := lockertest.New(t)
				s := store{client: lockertest.Client(a), prefix: locker.DefaultPrefix}
				s.put(t, "1")
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var once atomic.Bool
				f := &tap{around: func(ctx context.Context, tx txn, send send) (answer, error) {
					if tx.puts(s.name()) && once.CompareAndSwap(false, true) {
						c.then(a, cancel)
						return nil, errAnswer
					}
					return send(ctx)
				}}
				runs := 0
				v, err := alone(s.lockerOn(t, tapped(s.client, f))).Update(ctx, func(_ context.Context, n int) (int, error) {
					if runs++; runs > 1 {
						return 0, c.fn
					}
					return n + 1, nil
				})
				wantErr(t, err, locker.ErrOutcomeUnknown, c.want)
				wantOp(t, err, "update")
				if v != 0 {
					t.Errorf("got %d", v)
				}
				lockertest.Reconnect(a)
				time.Sleep(time.Minute)
				s.wantStored(t, key, "1")
				wantFree(t, a)
			})
		})
	}
}
