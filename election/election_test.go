package election_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/phpgao/elock/election"
	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

func TestOneLeadsAndTheOthersFollowInTheOrderOfArrival(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l, m := lockertest.NewPair(t)
		a, b, c := newElection(t, l), newElection(t, m), newElection(t, l)
		_, err := a.Leader(ctx)
		wantErr(t, err, election.ErrNoLeader)

		first := campaign(t, a, "a")
		second := queue(b, "b")
		settle()
		third := queue(c, "c")
		settle()
		if !a.IsLeader() || b.IsLeader() || c.IsLeader() {
			t.Error("not a alone leads")
		}
		if now, err := b.Leader(ctx); err != nil || now.Value != "a" || now.Token != first.Token() || now.Name == "" || now.Foreign || now.Revision == 0 {
			t.Errorf("%+v, %v", now, err)
		}
		wantErr(t, first.Resign(ctx))
		if a.IsLeader() || !errors.Is(context.Cause(first.Context()), locker.ErrReleased) {
			t.Error("a leads after it resigned")
		}
		next := leads(t, second)
		if !b.IsLeader() || next.Token() <= first.Token() {
			t.Error("b does not lead, or with an old token")
		}
		wantErr(t, next.Resign(ctx))
		last := leads(t, third)
		wantErr(t, last.Resign(ctx))
		wantErr(t, last.Resign(ctx))
		_, err = a.Leader(ctx)
		wantErr(t, err, election.ErrNoLeader)
	})
}

func TestObserveTellsLeadersAnnouncementsAndVacanciesInOrder(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l, m := lockertest.NewPair(t)
		a, b := newElection(t, l), newElection(t, m)
		o := observe(t, b)
		o.want(t, "") // at once
		_, err := lockertest.Client(l).Put(ctx, key.Path(l.Prefix())+"x", "by hand")
		wantErr(t, err) // it has no lease, and is nobody's

		first := campaign(t, a, "a1")
		o.want(t, "a1")
		led := queue(b, "b1") // a candidate is no news
		settle()
		for _, v := range []string{"a2", "a3", "a3"} {
			wantErr(t, first.Proclaim(ctx, v))
		}
		o.want(t, "a2", "a3", "a3")
		wantErr(t, first.Resign(ctx))
		second := leads(t, led)
		wantErr(t, second.Proclaim(ctx, "b2"))
		wantErr(t, second.Resign(ctx))
		third := campaign(t, a, "a4")
		o.want(t, "b1", "b2", "", "a4")
		wantErr(t, third.Resign(ctx))
		o.want(t, "")

		late := observe(t, a)
		late.want(t, "")
		fourth := campaign(t, a, "a5")
		if done, err := m.Evict(ctx, key); !done || err != nil {
			t.Errorf("%v, %v", done, err)
		}
		late.want(t, "a5", "") // the mark of Evict is no announcement
		<-fourth.Context().Done()
	})
}

func TestObserveEnds(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l, m := lockertest.NewPair(t)
		e := newElection(t, l)
		done, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		n := 0
		for now, err := range e.Observe(done) {
			wantErr(t, err)
			if !now.Vacant() {
				t.Errorf("%+v", now)
			}
			n++
		}
		if n != 1 {
			t.Errorf("%d vacancies", n)
		}
		o := observe(t, newElection(t, m))
		o.want(t, "")
		wantErr(t, m.Close())
		_, err, ok := o.next()
		wantErr(t, err, locker.ErrClosed)
		if _, _, more := o.next(); !ok || more {
			t.Error("it goes on")
		}
	})
}

func TestAnObserverMissesNothingWhileItIsCutOffOrSlow(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l, m := lockertest.NewPair(t)
		a, b := newElection(t, l), newElection(t, m)
		o := observe(t, b)
		o.want(t, "")
		lockertest.Disconnect(m)
		time.Sleep(45 * time.Second) // its watches have come to their end
		var want []string
		for _, v := range []string{"1", "2", "3"} {
			led := campaign(t, a, v)
			wantErr(t, led.Proclaim(ctx, v+"+"))
			wantErr(t, led.Resign(ctx))
			want = append(want, v, v+"+", "")
		}
		time.Sleep(time.Minute)
		lockertest.Reconnect(m)
		o.want(t, want...)
		time.Sleep(2 * time.Minute) // nobody listens
		led := campaign(t, a, "4")
		wantErr(t, led.Resign(ctx))
		o.want(t, "4", "")
	})
}

func TestWhatEtcdHasCompactedIsLeftOut(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l, m := lockertest.NewPair(t)
		a, b := newElection(t, l), newElection(t, m)
		o := observe(t, b)
		o.want(t, "")
		lockertest.Disconnect(m)
		time.Sleep(45 * time.Second)
		wantErr(t, campaign(t, a, "1").Resign(ctx))
		led := campaign(t, a, "2")
		resp, err := lockertest.Client(l).Get(ctx, "x")
		wantErr(t, err)
		_, err = lockertest.Client(l).Compact(ctx, resp.Header.Revision)
		wantErr(t, err)
		lockertest.Reconnect(m)
		o.want(t, "2")
		wantErr(t, led.Resign(ctx))
		o.want(t, "")
	})
}

func TestAnAnnouncementNeedNotBeUTF8OrDecode(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l := lockertest.New(t)
		e := newElection(t, l)
		first := campaign(t, e, "\xff\x00\"<")
		now, err := e.Leader(ctx)
		if wantErr(t, err); now.Value != "\xff\x00\"<" {
			t.Errorf("%q", now.Value)
		}
		numbers, err := election.New(l, key, guard.JSON[int]())
		wantErr(t, err)
		other, err := numbers.Leader(ctx)
		if wantErr(t, err, guard.ErrDecode); other.Token != first.Token() {
			t.Errorf("%+v", other)
		}
		wantErr(t, first.Proclaim(ctx, "7"))
		for now, err := range numbers.Observe(ctx) {
			if wantErr(t, err); now.Value != 7 {
				t.Errorf("%+v", now)
			}
			break
		}
	})
}

// A codec that fails.
type unwilling struct{}

func (unwilling) Marshal(string) ([]byte, error)   { return nil, errMine }
func (unwilling) Unmarshal([]byte) (string, error) { return "", errMine }

func TestBadInputIsRefusedBeforeAnythingIsSent(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l := lockertest.New(t)
		lockertest.Disconnect(l) // what is sent would wait
		bad := func(_ any, err error) {
			t.Helper()
			var typed *locker.Error
			if wantErr(t, err, locker.ErrInvalidOption); !errors.As(err, &typed) {
				t.Errorf("%T", err)
			}
		}
		bad(election.New(nil, key, text))
		bad(election.New(l, keyspace.Key{}, text))
		bad(election.New[string](l, key, nil))
		bad(election.New(l, key, text, nil))
		_, err := election.New(l, keyspace.Key{}, text)
		wantErr(t, err, keyspace.ErrInvalid)

		e := newElection(t, l)
		var none context.Context
		never := func(context.Context, *term) error { t.Error("it leads"); return nil }
		bad(e.Campaign(none, ""))
		bad(e.Campaign(ctx, strings.Repeat("x", 16<<10+1)))
		bad(e.Leader(none))
		bad(0, e.Run(none, "", never))
		bad(0, e.Run(ctx, "", nil))
		for _, err := range e.Observe(none) {
			bad(0, err)
		}
		for _, o := range []locker.AcquireOption{locker.Shared(), locker.Slots(2)} {
			bad(newElection(t, l, election.Acquiring(o)).Campaign(ctx, ""))
		}
		unable, err := election.New(l, key, unwilling{})
		wantErr(t, err)
		_, err = unable.Campaign(ctx, "")
		wantErr(t, err, guard.ErrEncode, errMine)

		lockertest.Reconnect(l)
		first := campaign(t, e, "a")
		lockertest.Disconnect(l)
		bad(0, first.Proclaim(none, ""))
		bad(0, first.Resign(none))
		bad(0, first.ResignTo(none, "x"))
		bad(0, first.ResignTo(ctx, ""))
		bad(0, first.Proclaim(ctx, strings.Repeat("x", 16<<10+1)))
		if !e.IsLeader() {
			t.Error("bad input has ended a term")
		}
		lockertest.Reconnect(l)

		wantErr(t, l.Close())
		_, err = e.Campaign(ctx, "")
		wantErr(t, err, locker.ErrClosed)
		wantErr(t, e.Run(ctx, "", never), locker.ErrClosed)
		_, err = e.Leader(ctx)
		wantErr(t, err, locker.ErrClosed)
		wantErr(t, first.Proclaim(ctx, ""), locker.ErrClosed)
		for _, err := range e.Observe(ctx) {
			wantErr(t, err, locker.ErrClosed)
		}
	})
}

func TestTheContextOfCampaignBoundsTheWaitOnly(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l, m := lockertest.NewPair(t)
		a, b := newElection(t, l), newElection(t, m)
		brief, cancel := context.WithTimeout(ctx, time.Minute)
		first, err := a.Campaign(brief, "a")
		wantErr(t, err)
		_, err = b.Campaign(brief, "b")
		wantErr(t, err, context.DeadlineExceeded, locker.ErrLocked)
		var typed *locker.Error
		if !errors.As(err, &typed) || typed.Op != "campaign" || typed.Blocker == nil || typed.Blocker.Announcement != "a" {
			t.Errorf("%#v", typed)
		}
		cancel()
		time.Sleep(time.Hour)
		if !a.IsLeader() || first.Context().Err() != nil {
			t.Error("the term has ended with the context of Campaign")
		}
		_, err = a.Campaign(first.Context(), "again")
		wantErr(t, err, locker.ErrDeadlock)
		q, err := l.Inspect(ctx, key)
		if wantErr(t, err); len(q.Waiters) != 0 {
			t.Errorf("left over: %+v", q.Waiters)
		}
	})
}

func TestATermEndsBeforeAnotherBegins(t *testing.T) {
	for name, lose := range map[string]func(*locker.Locker){
		"cut off": lockertest.Disconnect,
		"closed":  func(l *locker.Locker) { _ = l.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			locktest.Virtual(t, func(t *testing.T) {
				l, m := lockertest.NewPair(t)
				a, b := newElection(t, l), newElection(t, m)
				first := campaign(t, a, "a")
				led := queue(b, "b")
				settle()
				began := time.Now()
				lose(l)
				second := leads(t, led)
				if a.IsLeader() || first.Context().Err() == nil || !b.IsLeader() {
					t.Error("two lead, or none")
				}
				if d := time.Since(began); d > locker.DefaultTTL+time.Second {
					t.Errorf("nobody led for %v", d)
				}
				wantErr(t, second.Resign(ctx))
				_ = l.Close()
			})
		})
	}
}
