package election_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// A gate holds up the first write of a text, on its way to etcd or back.
type gate struct {
	text  string
	sent  bool          // it has been carried out when it is held up
	open  chan struct{} // lets it go on
	held  chan struct{} // closed when one is held up
	tries int
}

func gated(client *clientv3.Client, g *gate) *clientv3.Client {
	g.open, g.held = make(chan struct{}), make(chan struct{})
	return (&locktest.Tap{Around: g.around}).On(client)
}

func (g *gate) around(ctx context.Context, t locktest.Txn, send locktest.Send) (locktest.Answer, error) {
	hit := slices.ContainsFunc(t.Then, func(op clientv3.Op) bool {
		return op.IsPut() && strings.Contains(string(op.ValueBytes()), g.text)
	})
	if !hit || g.tries > 0 {
		return send(ctx)
	}
	g.tries++
	close(g.held)
	anyway := context.WithoutCancel(ctx)
	if g.sent {
		if _, err := send(anyway); err != nil {
			return nil, err
		}
		return nil, rpctypes.ErrTimeout
	}
	go func() { // it arrives in the end, whether or not anybody waits for the answer
		<-g.open
		_, _ = send(anyway)
	}()
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestAnAnnouncementOfALostTermThatArrivesLateIsNotSeen(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l, m := lockertest.NewPair(t)
		g := &gate{text: "late"}
		behind := locktest.New(t, gated(lockertest.Client(m), g), locker.WithoutBatching())
		a, b := newElection(t, behind), newElection(t, l)
		o := observe(t, b)
		o.want(t, "")
		first := campaign(t, a, "a")
		brief, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		wantErr(t, first.Proclaim(brief, "late"), locker.ErrOutcomeUnknown, context.DeadlineExceeded)
		wantErr(t, first.Resign(ctx))
		second := campaign(t, b, "b")
		third := queue(a, "a2") // the key of the same name again
		settle()
		close(g.open)
		settle()
		wantErr(t, second.Resign(ctx))
		wantErr(t, leads(t, third).Resign(ctx))
		o.want(t, "a", "", "b", "a2", "")
		wantErr(t, behind.Close())
	})
}

func TestAnAnnouncementWhoseAnswerIsLostIsFound(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l, m := lockertest.NewPair(t)
		g := &gate{text: "x1", sent: true}
		behind := locktest.New(t, gated(lockertest.Client(m), g), locker.WithoutBatching())
		a, b := newElection(t, behind), newElection(t, l)
		o := observe(t, b)
		o.want(t, "")
		first := campaign(t, a, "a")
		wantErr(t, first.Proclaim(ctx, "x1"))
		wantErr(t, first.Proclaim(ctx, "x2"))
		wantErr(t, first.Resign(ctx))
		o.want(t, "a", "x1", "x2", "")
		wantErr(t, behind.Close())
	})
}

func TestTheNextAnnouncementSettlesOneThatWasGivenUp(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l, m := lockertest.NewPair(t)
		g := &gate{text: "late"}
		behind := locktest.New(t, gated(lockertest.Client(m), g), locker.WithoutBatching())
		a, b := newElection(t, behind), newElection(t, l)
		first := campaign(t, a, "a")
		brief, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		wantErr(t, first.Proclaim(brief, "late"), locker.ErrOutcomeUnknown)
		close(g.open)
		settle()
		now, err := b.Leader(ctx)
		if wantErr(t, err); now.Value != "late" {
			t.Errorf("%+v", now)
		}
		wantErr(t, first.Proclaim(ctx, "next"))
		if now, err = b.Leader(ctx); err != nil || now.Value != "next" {
			t.Errorf("%+v, %v", now, err)
		}
		wantErr(t, first.Resign(ctx))
		wantErr(t, behind.Close())
	})
}

func TestProclaimFindsThatTheTermIsLost(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l := lockertest.New(t)
		e := newElection(t, l)
		for _, lose := range []func(){func() { lockertest.Lose(l, key) }, func() { lockertest.Expire(l) }} {
			first := campaign(t, e, "a")
			lose()
			wantErr(t, first.Proclaim(ctx, "b"), locker.ErrLost)
			if e.IsLeader() {
				t.Error("it still leads")
			}
		}
	})
}

// Candidates of one process: no leader has the announcement of another.
func TestCandidatesOfOneProcessAnnounceTheirOwnValues(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l, m := lockertest.NewPair(t, locker.WithRetain(time.Minute))
		e := newElection(t, l)
		o := observe(t, newElection(t, m))
		o.want(t, "")
		plain, err := l.Acquire(ctx, key)
		wantErr(t, err)
		led := queue(e, "1")
		synctest.Wait() // within the time in which a lock is handed on
		wantErr(t, plain.Release(ctx))
		first := leads(t, led)
		brief, cancel := context.WithCancel(ctx)
		go func() { _, _ = e.Campaign(brief, "never") }()
		settle()
		third := queue(e, "3")
		settle()
		cancel()
		settle()
		wantErr(t, first.Resign(ctx))
		wantErr(t, leads(t, third).Resign(ctx))
		if l, err, _ := o.next(); err != nil || l.Value != "" || l.Vacant() { // a lock that announces nothing
			t.Errorf("%+v, %v", l, err)
		}
		o.want(t, "1", "3", "")

		plain, err = l.Acquire(ctx, key)
		wantErr(t, err)
		wantErr(t, plain.Release(ctx)) // it is retained
		settle()
		fourth := campaign(t, e, "4")
		now, err := e.Leader(ctx)
		if wantErr(t, err); now.Value != "4" {
			t.Errorf("%+v", now)
		}
		wantErr(t, fourth.Proclaim(ctx, "5"))
		wantErr(t, fourth.Resign(ctx))
	})
}
