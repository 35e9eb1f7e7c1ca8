package election_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/election"
	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

var (
	key     = keyspace.MustParse("scheduler")
	text    = guard.Bytes[string]()
	ctx     = context.Background()
	errMine = errors.New("mine")
)

// wantErr fails the test unless an error matches all of some errors, or is nil if there are none.
var wantErr = locktest.CheckErr

type (
	elected = election.Election[string]
	term    = election.Term[string]
	leader  = election.Leader[string]
)

func newElection(tb testing.TB, l *locker.Locker, opts ...election.Option) *elected {
	tb.Helper()
	e, err := election.New(l, key, text, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func campaign(tb testing.TB, e *elected, value string) *term {
	tb.Helper()
	t, err := e.Campaign(ctx, value)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// queue campaigns on a goroutine. In a bubble, it returns when the candidate waits.
func queue(e *elected, value string) (led func() (*term, error)) {
	type result struct {
		t   *term
		err error
	}
	c := make(chan result, 1)
	go func() {
		t, err := e.Campaign(ctx, value)
		c <- result{t, err}
	}()
	return func() (*term, error) {
		r := <-c
		return r.t, r.err
	}
}

func leads(tb testing.TB, led func() (*term, error)) *term {
	tb.Helper()
	t, err := led()
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// an observer is a loop over Observe that takes steps.
type observer struct {
	next func() (leader, error, bool)
	stop func()
}

// observe begins when the first thing is wanted of it, and ends in some hours: then a test fails that wants too much.
func observe(tb testing.TB, e *elected) *observer {
	ctx, cancel := context.WithTimeout(ctx, 6*time.Hour)
	next, stop := iter.Pull2(e.Observe(ctx))
	tb.Cleanup(func() { stop(); cancel() })
	return &observer{next, stop}
}

// want fails the test unless the next things that are observed are these values; "" is a vacancy.
func (o *observer) want(tb testing.TB, values ...string) {
	tb.Helper()
	for _, want := range values {
		l, err, ok := o.next()
		if !ok || err != nil || l.Value != want || l.Vacant() != (want == "") {
			tb.Fatalf("observed %+v, %v, %v; want %q", l, err, ok, want)
		}
	}
}

// settle lets what others do come to rest, in a bubble.
func settle() {
	time.Sleep(time.Second)
	synctest.Wait()
}
