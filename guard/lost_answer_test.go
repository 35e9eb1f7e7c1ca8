package guard_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// errAnswer is what a caller sees when an answer is lost.
var errAnswer = rpctypes.ErrTimeout

// An updating is a way to add one to the values of keys.
type updating struct {
	keys   []keyspace.Key
	update func(ctx context.Context, l *locker.Locker) error
}

var updatings = map[string]updating{
	"one": {[]keyspace.Key{numbers.Key(1)}, func(ctx context.Context, l *locker.Locker) error {
		_, err := number(l, 1).Update(ctx, increment)
		return err
	}},
	"two": {[]keyspace.Key{numbers.Key(1), numbers.Key(2)}, func(ctx context.Context, l *locker.Locker) error {
		return guard.Update2(ctx, number(l, 2), number(l, 1), func(_ context.Context, a, b int) (int, int, error) {
			return a + 1, b + 1, nil
		})
	}},
}

// want fails the test unless all values are n, as strangers see it.
func (u updating) want(t *testing.T, s store, n int) {
	t.Helper()
	for _, k := range u.keys {
		v, err := guard.New(s.locker(t), k, guard.Stored(guard.JSON[int]())).Get(context.Background())
		wantValue(t, v, err, n)
	}
	wantAllFree(t, s.locker(t), u.keys...)
}

// onCommit has f answer the first commit of a value, and only that.
func onCommit(s store, u updating, f func(ctx context.Context, send send) (answer, error)) *tap {
	var once atomic.Bool
	return &tap{around: func(ctx context.Context, t txn, send send) (answer, error) {
		if t.puts(s.nameOf(u.keys[0])) && once.CompareAndSwap(false, true) {
			return f(ctx, send)
		}
		return send(ctx)
	}}
}

func TestALostAnswerToACommitIsLookedUp(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		done bool
		lose func(ctx context.Context, send send) (answer, error)
	}{
		"the answer, as an error": {true, func(ctx context.Context, send send) (answer, error) {
			_, _ = send(ctx)
			return nil, errAnswer
		}},
		"the answer, by silence": {true, func(ctx context.Context, send send) (answer, error) {
			_, _ = send(ctx)
			<-ctx.Done()
			return nil, ctx.Err()
		}},
		"the request, as an error": {false, func(context.Context, send) (answer, error) { return nil, errAnswer }},
		"the request, by silence": {false, func(ctx context.Context, _ send) (answer, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}},
	} {
		for count, u := range updatings {
			t.Run(name+", "+count, func(t *testing.T) {
				t.Parallel()
				s := newStore(t)
				l := s.lockerOn(t, tapped(s.Client(t), onCommit(s, u, row.lose)))
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				err := u.update(ctx, l)
				if row.done {
					wantErr(t, err, nil)
					u.want(t, s, 1)
					return
				}
				if err == nil || errors.Is(err, locker.ErrOutcomeUnknown) || errors.Is(err, guard.ErrFenced) {
					t.Errorf("got error %v, want that of etcd or of the context", err)
				}
				u.want(t, s, 0)
				wantErr(t, u.update(t.Context(), l), nil)
				u.want(t, s, 1)
			})
		}
	}
}

func TestACommitThatArrivesAfterItWasGivenUpStoresNothing(t *testing.T) {
	t.Parallel()
	for count, u := range updatings {
		t.Run(count, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			gate, late := make(chan struct{}), make(chan answer, 1)
			f := onCommit(s, u, func(_ context.Context, send send) (answer, error) {
				go func() {
					<-gate
					a, err := send(context.Background())
					if err != nil {
						t.Error(err)
					}
					late <- a
				}()
				return nil, errAnswer
			})
			l := s.lockerOn(t, tapped(s.Client(t), f))
			err := u.update(t.Context(), l)
			if err == nil || errors.Is(err, locker.ErrOutcomeUnknown) {
				t.Errorf("got error %v, want that of etcd", err)
			}
			wantErr(t, u.update(t.Context(), s.locker(t)), nil)
			close(gate)
			if receive(t, late).Succeeded {
				t.Error("the late commit was carried out")
			}
			u.want(t, s, 1)
		})
	}
}

func TestTheOutcomeOfACommitIsUnknownOnlyWhileEtcdStaysUnreachable(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string]bool{"carried out": true, "not carried out": false} {
		for count, u := range updatings {
			t.Run(name+", "+count, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					a := lockertest.New(t)
					s := store{client: lockertest.Client(a), prefix: locker.DefaultPrefix}
					f := onCommit(s, u, func(ctx context.Context, send send) (answer, error) {
						if sent {
							_, _ = send(ctx)
						}
						lockertest.Disconnect(a)
						return nil, errAnswer
					})
					l := newLocker(t, tapped(s.client, f))
					began := time.Now()
					err := u.update(t.Context(), l)
					wantErr(t, err, locker.ErrOutcomeUnknown)
					if errors.Is(err, guard.ErrFenced) {
						t.Errorf("got error %v, which says that nothing was stored", err)
					}
					if took := time.Since(began); took > locker.DefaultTTL+time.Second {
						t.Errorf("it took %v", took)
					}
					lockertest.Reconnect(a)
					want := 0
					if sent {
						want = 1
					}
					time.Sleep(time.Minute)
					for _, k := range u.keys {
						v, err := guard.New(a, k, guard.Stored(guard.JSON[int]())).Get(t.Context())
						wantValue(t, v, err, want)
					}
					wantAllFree(t, a, u.keys...)
				})
			})
		}
	}
}

func TestAnUpdateThatIsStoredSucceedsThoughItsLockIsNotFreeYet(t *testing.T) {
	t.Parallel()
	for count, u := range updatings {
		t.Run(count, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := lockertest.New(t)
				s := store{client: lockertest.Client(a), prefix: locker.DefaultPrefix}
				var after atomic.Int64 // transactions since the commit
				f := &tap{around: func(ctx context.Context, tx txn, send send) (answer, error) {
					switch {
					case tx.puts(s.nameOf(u.keys[0])):
						_, _ = send(ctx)
						after.Store(1)
						return nil, errAnswer
					case after.Load() > 0 && after.Add(1) > 2: // the first one finds out
						<-ctx.Done()
						return nil, ctx.Err()
					}
					return send(ctx)
				}}
				l := newLocker(t, tapped(s.client, f))
				wantErr(t, u.update(t.Context(), l), nil)
				after.Store(0)
				for _, k := range u.keys {
					v, err := guard.New(a, k, guard.Stored(guard.JSON[int]())).Get(t.Context())
					wantValue(t, v, err, 1)
				}
			})
		})
	}
}

func TestALostAnswerToAnAcquireStoresNothingAndHoldsUpNobody(t *testing.T) {
	t.Parallel()
	for name, carriedOut := range map[string]bool{"request": false, "answer": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			u := updatings["one"]
			var once atomic.Bool
			f := &tap{around: func(ctx context.Context, tx txn, send send) (answer, error) {
				if !tx.writes() || !once.CompareAndSwap(false, true) {
					return send(ctx)
				}
				if carriedOut {
					_, _ = send(ctx)
				}
				return nil, errAnswer
			}}
			l := s.lockerOn(t, tapped(s.Client(t), f))
			want := 1
			if err := u.update(t.Context(), l); err != nil { // else it was looked up
				want = 0
			}
			u.want(t, s, want)
			wantErr(t, u.update(t.Context(), l), nil)
			u.want(t, s, want+1)
		})
	}
}

func TestACommitThatAStrangerWroteOverBeforeItWasLookedUpIsNotReportedAsFailed(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	u := updatings["one"]
	f := onCommit(s, u, func(ctx context.Context, send send) (answer, error) {
		a, err := send(ctx)
		if err != nil || !a.Succeeded {
			t.Errorf("the commit: %v, %v", a, err)
		}
		if _, err := s.client.Put(ctx, s.nameOf(u.keys[0]), "7"); err != nil {
			t.Error(err)
		}
		return nil, errAnswer
	})
	l := s.lockerOn(t, tapped(s.Client(t), f), locker.WithRetain(time.Hour))
	// The first release of a retained lock says so in etcd; the one after that may stay.
	h, err := l.Acquire(t.Context(), u.keys[0])
	wantErr(t, err, nil)
	wantErr(t, h.Release(t.Context()), nil)
	if err := u.update(t.Context(), l); err != nil && !errors.Is(err, locker.ErrOutcomeUnknown) {
		t.Errorf("got error %v, though it was stored", err)
	}
}
