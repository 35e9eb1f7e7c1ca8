package guard_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// errAnswer is what a caller sees when an answer is lost.
var errAnswer = errors.New("test: the answer is lost") // not one after which the same call goes again

// A committing is a call that commits what becomes of the values of keys.
type committing struct {
	keys  []keyspace.Key
	call  func(ctx context.Context, l *locker.Locker) error
	after int // what it makes of 1
}

var committings = map[string]committing{
	"Update": {[]keyspace.Key{numbers.Key(1)}, func(ctx context.Context, l *locker.Locker) error {
		_, err := number(l, 1).Update(ctx, increment)
		return err
	}, 2},
	"Update2": {[]keyspace.Key{numbers.Key(1), numbers.Key(2)}, func(ctx context.Context, l *locker.Locker) error {
		return guard.Update2(ctx, number(l, 2), number(l, 1), func(_ context.Context, a, b int) (int, int, error) {
			return a + 1, b + 1, nil
		})
	}, 2},
	"Delete": {[]keyspace.Key{numbers.Key(1)}, func(ctx context.Context, l *locker.Locker) error {
		return number(l, 1).Delete(ctx)
	}, absent},
}

// prepare stores 1 under each key.
func (c committing) prepare(t *testing.T, s store) {
	t.Helper()
	for _, k := range c.keys {
		if _, err := s.client.Put(t.Context(), s.nameOf(k), "1"); err != nil {
			t.Fatal(err)
		}
	}
}

// want fails the test unless all values are n, or absent, and their locks are free.
func (c committing) want(t *testing.T, l *locker.Locker, n int) {
	t.Helper()
	for _, k := range c.keys {
		v, err := guard.New(l, k, guard.Stored(guard.JSON[int]())).GetVersion(context.Background())
		wantVersion(t, v, err, n)
	}
	wantAllFree(t, l, c.keys...)
}

// onCommit has f answer the first transaction that writes a value, and no other.
func (c committing) onCommit(s store, f func(ctx context.Context, send send) (answer, error)) *tap {
	var once atomic.Bool
	name := s.nameOf(c.keys[0])
	return &tap{around: func(ctx context.Context, t txn, send send) (answer, error) {
		if (t.puts(name) || t.deletes(name)) && once.CompareAndSwap(false, true) {
			return f(ctx, send)
		}
		return send(ctx)
	}}
}

// Package locker tests what a commit can meet. This is that the guard passes it on.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	for name, c := range committings {
		for lost, carriedOut := range map[string]bool{"answer": true, "request": false} {
			for kind, opts := range map[string][]locker.Option{"plain": nil, "retained": {locker.WithRetain(time.Hour)}} {
				t.Run(name+"/"+lost+"/"+kind, func(t *testing.T) {
					t.Parallel()
					s := newStore(t)
					c.prepare(t, s)
					l := s.lockerOn(t, tapped(s.Client(t), c.onCommit(s, func(ctx context.Context, send send) (answer, error) {
						if carriedOut {
							_, _ = send(ctx)
						}
						return nil, errAnswer
					})), opts...)
					// The first release of a retained lock says so in etcd; the one after that may stay.
					wantAllFree(t, l, c.keys...)
					err := c.call(t.Context(), l)
					if carriedOut {
						wantErr(t, err, nil)
						c.want(t, s.locker(t), c.after)
						return
					}
					if err == nil || errors.Is(err, locker.ErrOutcomeUnknown) || errors.Is(err, guard.ErrFenced) {
						t.Errorf("got error %v, want that of etcd", err)
					}
					c.want(t, s.locker(t), 1)
					wantErr(t, c.call(t.Context(), l), nil)
					c.want(t, s.locker(t), c.after)
				})
			}
		}
	}
}

func TestLostAnswerOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	for name, c := range committings {
		for lost, carriedOut := range map[string]bool{"answer": true, "request": false} {
			t.Run(name+"/"+lost, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					a := lockertest.New(t)
					s := store{client: lockertest.Client(a), prefix: locker.DefaultPrefix}
					c.prepare(t, s)
					l := newLocker(t, tapped(s.client, c.onCommit(s, func(ctx context.Context, send send) (answer, error) {
						if carriedOut {
							_, _ = send(ctx)
						}
						lockertest.Disconnect(a)
						return nil, errAnswer
					})))
					began := time.Now()
					err := c.call(t.Context(), l)
					wantErr(t, err, locker.ErrOutcomeUnknown)
					if errors.Is(err, guard.ErrFenced) {
						t.Errorf("got error %v, which says that nothing was written", err)
					}
					if took := time.Since(began); took > locker.DefaultTTL+time.Second {
						t.Errorf("it took %v", took)
					}
					lockertest.Reconnect(a)
					time.Sleep(time.Minute)
					want := 1
					if carriedOut {
						want = c.after
					}
					c.want(t, a, want)
				})
			})
		}
	}
}

func TestLostAnswerOfACommitWhoseLockIsNotFreeYet(t *testing.T) {
	t.Parallel()
	for name, c := range committings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := lockertest.New(t)
				s := store{client: lockertest.Client(a), prefix: locker.DefaultPrefix}
				c.prepare(t, s)
				var after atomic.Int64 // transactions since the commit
				commit := c.onCommit(s, func(ctx context.Context, send send) (answer, error) {
					_, _ = send(ctx)
					after.Store(1)
					return nil, errAnswer
				})
				f := &tap{around: func(ctx context.Context, tx txn, send send) (answer, error) {
					if tx.writes() && after.Load() > 0 && after.Add(1) > 2 { // the first one finds out
						<-ctx.Done()
						return nil, ctx.Err()
					}
					return commit.around(ctx, tx, send)
				}}
				l := newLocker(t, tapped(s.client, f))
				wantErr(t, c.call(t.Context(), l), nil)
				after.Store(0)
				time.Sleep(time.Minute)
				c.want(t, a, c.after)
			})
		})
	}
}
