package election_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/phpgao/elock/election"
	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// etcd#11777: the leader's key is deleted by hand, and Campaign of the same session then returns a leader without a key.
func TestReportACandidateWhoseKeyWasDeletedHasAnotherBeforeItLeads(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l, m := lockertest.NewPair(t)
		a, b := newElection(t, l), newElection(t, m)
		first := campaign(t, a, "a")
		led := queue(b, "b")
		settle()
		remove(t, l, 1)
		settle()
		remove(t, l, 0)
		<-first.Context().Done()
		second := leads(t, led)
		wantLeads(t, l, second.Token())
		again := queue(a, "a")
		settle()
		wantErr(t, second.Resign(ctx))
		third := leads(t, again)
		wantLeads(t, l, third.Token())
		wantErr(t, third.Resign(ctx))
	})
}

// remove deletes the n-th key of the election by hand.
func remove(tb testing.TB, l *locker.Locker, n int) {
	tb.Helper()
	client := lockertest.Client(l)
	resp, err := client.Get(ctx, key.Path(l.Prefix()), clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil || len(resp.Kvs) <= n {
		tb.Fatalf("%v, %v", resp, err)
	}
	if _, err := client.Delete(ctx, string(resp.Kvs[n].Key)); err != nil {
		tb.Fatal(err)
	}
}

// wantLeads fails the test unless etcd has the key of that term, first in its queue.
func wantLeads(tb testing.TB, l *locker.Locker, token locker.Token) {
	tb.Helper()
	q, err := l.Inspect(ctx, key)
	if err != nil || len(q.Holders) != 1 || q.Holders[0].Token != token {
		tb.Fatalf("%+v, %v", q, err)
	}
}

// etcd#18163 and mailgun/holster#36: the lease of a candidate ends while it waits. Campaign of etcd waits on without a key, as a
// zombie, and returns as a phantom leader when the leader resigns.
func TestReportACandidateWhoseLeaseHasEndedIsNeitherAZombieNorAPhantomLeader(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l, m := lockertest.NewPair(t)
		a, b := newElection(t, l), newElection(t, m)
		first := campaign(t, a, "a")
		led := make(chan *term)
		resign := make(chan struct{})
		go func() {
			wantErr(t, b.Run(ctx, "b", func(_ context.Context, tm *term) error { led <- tm; <-resign; return nil }))
			close(led)
		}()
		settle()
		lockertest.Disconnect(m)
		time.Sleep(time.Minute)
		q, err := l.Inspect(ctx, key)
		if wantErr(t, err); len(q.Waiters) != 0 {
			t.Fatalf("the lease has not ended: %+v", q)
		}
		lockertest.Reconnect(m)
		time.Sleep(10 * time.Second)
		q, err = l.Inspect(ctx, key)
		if wantErr(t, err); len(q.Waiters) != 1 {
			t.Errorf("a zombie: %+v", q)
		}
		wantErr(t, first.Resign(ctx))
		wantLeads(t, l, (<-led).Token())
		close(resign)
		<-led
	})
}

// etcd#21128: what Campaign meets, such as a compaction, ends it, and its key stays: it blocks the election for as long as the
// session lives.
func TestReportACandidateThatFailsLeavesNoKey(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l, m := lockertest.NewPair(t)
		a, b := newElection(t, l), newElection(t, m)
		first := campaign(t, a, "a")
		brief, cancel := context.WithTimeout(ctx, time.Hour)
		done := make(chan error)
		go func() { _, err := b.Campaign(brief, "b"); done <- err }()
		settle()
		resp, err := lockertest.Client(l).Put(ctx, "x", "")
		wantErr(t, err)
		lockertest.Disconnect(m)
		time.Sleep(3 * time.Second)
		_, err = lockertest.Client(l).Compact(ctx, resp.Header.Revision)
		wantErr(t, err)
		lockertest.Reconnect(m)
		settle()
		lockertest.Disconnect(m)
		cancel() // while etcd cannot be asked to remove the key
		wantErr(t, <-done, context.Canceled)
		lockertest.Reconnect(m)
		time.Sleep(10 * time.Second)
		q, err := l.Inspect(ctx, key)
		if wantErr(t, err); len(q.Waiters) != 0 {
			t.Errorf("left over: %+v", q.Waiters)
		}
		wantErr(t, first.Resign(ctx))
	})
}

// etcd#17623: a term is lost, and its leader neither hears of it nor campaigns again.
func TestReportALeaderHearsOfALostTermAndCampaignsAgain(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		l, m := lockertest.NewPair(t)
		a, b := newElection(t, l), newElection(t, m)
		ctx, cancel := context.WithCancel(ctx)
		var terms atomic.Int64
		done := make(chan error)
		for _, e := range []*elected{a, b} {
			go func() {
				done <- e.Run(ctx, "", func(ctx context.Context, tm *term) error {
					if n := terms.Add(1); n%2 == 1 {
						lockertest.Expire(map[*elected]*locker.Locker{a: l, b: m}[e])
					} else {
						lockertest.Lose(map[*elected]*locker.Locker{a: l, b: m}[e], key)
					}
					<-ctx.Done()
					return context.Cause(ctx)
				})
			}()
		}
		time.Sleep(5 * time.Minute)
		if n := terms.Load(); n < 50 {
			t.Errorf("%d terms in 5 minutes", n)
		}
		cancel()
		<-done
		<-done
	})
}

// etcd#22123: Resign under a context that is done fails, and Resign again does nothing.
func TestReportResignWorksUnderAContextThatIsDone(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		e := newElection(t, lockertest.New(t))
		first := campaign(t, e, "a")
		done, cancel := context.WithCancel(ctx)
		cancel()
		wantErr(t, first.Resign(done))
		_, err := e.Leader(ctx)
		wantErr(t, err, election.ErrNoLeader)
	})
}

func TestAnElectionOfEtcdAndOneOfThisPackageExcludeAndObserveEachOther(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := s.Prefix(t)
	l := locktest.New(t, s.Client(t), locker.WithPrefix(prefix), locker.WithOwner("ours"))
	ours, err := election.New(l, keyspace.MustParse("job"), text)
	wantErr(t, err)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	session, err := concurrency.NewSession(s.Client(t))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	theirs := concurrency.NewElection(session, "/"+prefix+"/job")
	o := observe(t, ours)
	o.want(t, "")

	// We lead, and they wait.
	first, err := ours.Campaign(ctx, "our value")
	if err != nil {
		t.Fatal(err)
	}
	o.want(t, "our value")
	wantErr(t, first.Proclaim(ctx, "our second"))
	o.want(t, "our second")
	resp, err := theirs.Leader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("they see %s", resp.Kvs[0].Value)
	led := make(chan error, 1)
	go func() { led <- theirs.Campaign(ctx, "their value") }()
	for { // until they wait
		q, err := l.Inspect(ctx, keyspace.MustParse("job"))
		if err != nil {
			t.Fatal(err)
		}
		if len(q.Waiters) == 1 {
			if !q.Waiters[0].Foreign || q.Waiters[0].Announcement != "their value" {
				t.Errorf("%+v", q)
			}
			break
		}
	}
	named := locktest.New(t, s.Client(t), locker.WithPrefix(prefix), locker.WithOwner("named"))
	behind, err := election.New(named, keyspace.MustParse("job"), text)
	wantErr(t, err)
	second := make(chan *term, 1)
	go func() {
		tm, err := behind.Campaign(ctx, "behind")
		wantErr(t, err)
		second <- tm
	}()
	for q, err := range l.Watch(ctx, keyspace.MustParse("job")) {
		if wantErr(t, err); len(q.Waiters) == 2 {
			break
		}
	}
	brief, stop := context.WithTimeout(ctx, time.Second)
	wantErr(t, first.ResignTo(brief, "named"), election.ErrNoCandidate) // their key is not deleted
	stop()
	select {
	case err := <-led:
		t.Fatalf("two lead: %v", err)
	default:
	}
	wantErr(t, first.Resign(ctx))
	wantErr(t, <-led)

	// They lead.
	o.want(t, "their value")
	now, err := ours.Leader(ctx)
	if wantErr(t, err); !now.Foreign || now.Value != "their value" || now.Token <= first.Token() {
		t.Errorf("%+v", now)
	}
	wantErr(t, theirs.Proclaim(ctx, "their second"))
	o.want(t, "their second")
	wantErr(t, theirs.Resign(ctx))
	o.want(t, "behind")
	wantErr(t, (<-second).Resign(ctx))
	o.want(t, "")
}
