package election_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/phpgao/elock/election"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

func TestRunLeadsAgainAfterATermIsLost(t *testing.T) {
	for name, returns := range map[string]func(ctx context.Context) error{
		"nil":       func(context.Context) error { return nil },
		"the cause": context.Cause,
		"Canceled":  func(ctx context.Context) error { return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			locktest.Virtual(t, func(t *testing.T) {
				l := lockertest.New(t)
				e := newElection(t, l, election.Acquiring(locker.MaxHeld(time.Hour)))
				lose := []func(){
					func() { lockertest.Lose(l, key) },
					func() { lockertest.Expire(l) },
					func() { _, _ = l.Evict(ctx, key) },
					func() { lockertest.Disconnect(l); time.AfterFunc(time.Minute, func() { lockertest.Reconnect(l) }) },
					func() {}, // the monitor ends it
				}
				terms := 0
				err := e.Run(ctx, "a", func(ctx context.Context, tm *term) error {
					if !e.IsLeader() {
						t.Error("it is not the leader")
					}
					if terms == len(lose) {
						return errMine
					}
					lose[terms]()
					terms++
					<-ctx.Done()
					if e.IsLeader() {
						t.Error("it is the leader of a lost term")
					}
					return returns(ctx)
				})
				if err != errMine || terms != len(lose) {
					t.Errorf("%v after %d terms", err, terms)
				}
				_, err = e.Leader(ctx)
				wantErr(t, err, election.ErrNoLeader)
			})
		})
	}
}

func TestRunEndsWhenLeadReturns(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l, m := lockertest.NewPair(t)
		e := newElection(t, l)
		wantErr(t, e.Run(ctx, "a", func(context.Context, *term) error { return nil }))
		if err := e.Run(ctx, "a", func(context.Context, *term) error { return errMine }); err != errMine {
			t.Error(err)
		}
		// It has resigned itself.
		wantErr(t, e.Run(ctx, "a", func(ctx context.Context, tm *term) error {
			wantErr(t, tm.Resign(ctx))
			return nil
		}))
		// Its own error, of a term that was lost, is not forgotten.
		err := e.Run(ctx, "a", func(ctx context.Context, _ *term) error {
			lockertest.Lose(l, key)
			<-ctx.Done()
			return errMine
		})
		wantErr(t, err, errMine, locker.ErrLost)
		if e.IsLeader() {
			t.Error("it is still the leader")
		}
		wantErr(t, campaign(t, newElection(t, m), "b").Resign(ctx)) // free
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l, m := lockertest.NewPair(t)
		a, b := newElection(t, l), newElection(t, m)
		first := campaign(t, a, "a")
		brief, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		never := func(context.Context, *term) error { t.Error("it leads"); return nil }
		wantErr(t, b.Run(brief, "b", never), context.DeadlineExceeded, locker.ErrLocked)
		wantErr(t, first.Resign(ctx))

		brief, cancel = context.WithTimeout(ctx, time.Minute)
		defer cancel()
		err := b.Run(brief, "b", func(ctx context.Context, _ *term) error {
			<-ctx.Done()
			return context.Cause(ctx)
		})
		if err != context.DeadlineExceeded {
			t.Error(err)
		}
		_, err = a.Leader(ctx)
		wantErr(t, err, election.ErrNoLeader)
	})
}

func TestRunGoesOnWhileEtcdIsAway(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l := lockertest.New(t)
		e := newElection(t, l)
		lockertest.Disconnect(l)
		time.AfterFunc(time.Minute, func() { lockertest.Reconnect(l) })
		wantErr(t, e.Run(ctx, "a", func(context.Context, *term) error { return nil }))
		go func() {
			time.Sleep(time.Minute)
			_ = l.Close()
		}()
		err := e.Run(ctx, "a", func(ctx context.Context, _ *term) error {
			<-ctx.Done()
			return context.Cause(ctx)
		})
		wantErr(t, err, locker.ErrClosed)
	})
}

func TestAPanicOfLeadResignsAndGoesOn(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l, m := lockertest.NewPair(t)
		a, b := newElection(t, l), newElection(t, m)
		led := func() (*term, error) { return nil, nil }
		func() {
			defer func() {
				if p := recover(); p != errMine {
					t.Errorf("panic %v", p)
				}
			}()
			_ = a.Run(ctx, "a", func(context.Context, *term) error {
				led = queue(b, "b")
				settle()
				panic(errMine)
			})
		}()
		if a.IsLeader() {
			t.Error("a leads after its panic")
		}
		wantErr(t, leads(t, led).Resign(ctx))
	})
}

func TestResignToHandsOverToTheNamedCandidateWithoutAVacancy(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l, m := lockertest.NewPair(t)
		third := locktest.New(t, lockertest.Client(l), locker.WithOwner("third"))
		fourth := locktest.New(t, lockertest.Client(l), locker.WithOwner("fourth"))
		a, b, c, d := newElection(t, l), newElection(t, m), newElection(t, third), newElection(t, fourth)
		o := observe(t, b)
		o.want(t, "")
		first := campaign(t, a, "a")
		ledB := queue(b, "b")
		settle()
		ledC := queue(c, "c")
		settle()
		ledD := queue(d, "d")
		settle()
		began := time.Now()
		wantErr(t, first.ResignTo(ctx, "fourth"))
		termD := leads(t, ledD)
		if d := time.Since(began); d > time.Second {
			t.Errorf("it took %v", d)
		}
		settle() // b and c queue again
		wantErr(t, termD.ResignTo(ctx, "third"))
		termC := leads(t, ledC)
		settle() // b queues again
		wantErr(t, termC.Resign(ctx))
		termB := leads(t, ledB)
		wantErr(t, termB.Resign(ctx))
		o.want(t, "a", "d", "c", "b", "")
		for _, l := range []*locker.Locker{third, fourth} {
			wantErr(t, l.Close())
		}
	})
}

func TestResignToWaitsForItsCandidate(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l, m := lockertest.NewPair(t)
		late := locktest.New(t, lockertest.Client(l), locker.WithOwner("late"))
		defer late.Close()
		a, b, c := newElection(t, l), newElection(t, m), newElection(t, late)
		first := campaign(t, a, "a")
		ledB := queue(b, "b")
		settle()
		brief, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		err := first.ResignTo(brief, "late")
		if wantErr(t, err, election.ErrNoCandidate, context.DeadlineExceeded); !a.IsLeader() {
			t.Error("the term has ended")
		}
		time.AfterFunc(time.Hour, func() {
			tm, err := c.Campaign(ctx, "c")
			if wantErr(t, err); err == nil {
				wantErr(t, tm.Resign(ctx))
			}
		})
		wantErr(t, first.ResignTo(ctx, "late"))
		wantErr(t, leads(t, ledB).Resign(ctx))
		settle()
		wantErr(t, first.ResignTo(ctx, "late"), locker.ErrReleased)
		lost := campaign(t, a, "a")
		time.AfterFunc(time.Minute, func() { lockertest.Lose(l, key) })
		wantErr(t, lost.ResignTo(ctx, "nobody"), locker.ErrLost)
	})
}

func TestOthersLeadWhenTheNamedCandidateDiesOrGivesUpAtThatMoment(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l, m := lockertest.NewPair(t, locker.WithOwner("named"))
		a, b := newElection(t, l), newElection(t, m)
		first := campaign(t, a, "a")
		other := locktest.New(t, lockertest.Client(l))
		defer other.Close()
		ledC := queue(newElection(t, other), "c")
		settle()
		ledB := queue(b, "b") // it never leads
		settle()
		lockertest.Disconnect(m)
		began := time.Now()
		wantErr(t, first.ResignTo(ctx, "named"))
		termC := leads(t, ledC)
		if d := time.Since(began); d > locker.DefaultTTL+time.Second {
			t.Errorf("nobody led for %v", d)
		}
		lockertest.Reconnect(m)
		settle()
		wantErr(t, termC.Resign(ctx))
		wantErr(t, leads(t, ledB).Resign(ctx)) // it has queued again

		gives, cancel := context.WithCancelCause(ctx)
		first = campaign(t, a, "a")
		done := make(chan error)
		go func() { _, err := b.Campaign(gives, "b"); done <- err }()
		settle()
		cancel(errMine)
		resigned := make(chan error)
		go func() { resigned <- first.ResignTo(ctx, "named") }()
		if err := <-done; !errors.Is(err, errMine) && err != nil {
			t.Error(err)
		}
		settle()
		wantErr(t, first.Resign(ctx))
		// If the candidate gave up before it was found, ResignTo waits for another until the term ends.
		if err := <-resigned; err != nil && !errors.Is(err, locker.ErrReleased) {
			t.Error(err)
		}
	})
}
