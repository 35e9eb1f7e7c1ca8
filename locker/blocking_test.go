package locker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// blockingTest has three processes in memory, and locks with short names. What waits ends with the context, before the test.
type blockingTest struct {
	*testing.T
	a, b, c *locker.Locker
	ctx     context.Context
	waits   []func() error
}

func withProcesses(t *testing.T, f func(t *blockingTest)) {
	locktest.Virtual(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		b := &blockingTest{T: t, ctx: ctx}
		b.a, b.b = lockertest.NewPair(t)
		b.c = locktest.New(t, lockertest.Client(b.a), locker.WithOwner("c"))
		f(b)
		cancel()
		for _, done := range b.waits {
			if err := done(); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
}

// hold has l hold a lock.
func (t *blockingTest) hold(l *locker.Locker, name string, opts ...locker.AcquireOption) {
	t.Helper()
	locktest.Acquire(t, l, keyspace.MustParse(name), opts...)
}

// wait has l wait for a lock.
func (t *blockingTest) wait(l *locker.Locker, name string, opts ...locker.AcquireOption) {
	t.Helper()
	k := keyspace.MustParse(name)
	q, err := t.a.Inspect(t.Context(), k)
	locktest.Must(t, err)
	t.waits = append(t.waits, locktest.Async(t, func() error { return locktest.Second(l.Acquire(t.ctx, k, opts...)) }))
	locktest.UntilQueued(t, t.a, k, len(q.Holders)+len(q.Waiters)+1)
}

func (t *blockingTest) want(name, want string) (chain locker.Chain) {
	t.Helper()
	chain, err := t.a.Blocking(t.Context(), keyspace.MustParse(name))
	if got := chain.String(); err != nil || got != want {
		t.Errorf("blocking %s: got %s, %v; want %s", name, got, err, want)
	}
	return chain
}

func TestBlockingFollowsWhoWaitsForWhom(t *testing.T) {
	withProcesses(t, func(t *blockingTest) {
		t.want("x", "not held")
		t.hold(t.a, "x")
		t.want("x", `"x" held by a`)
		t.wait(t.c, "x") // is not in the way of x
		t.want("x", `"x" held by a`)
		t.hold(t.b, "y")
		began := time.Now()
		t.wait(t.a, "y")
		time.Sleep(time.Minute)
		t.hold(t.c, "z")
		t.wait(t.b, "z")
		t.want("z", `"z" held by c; c waits for "x" held by a; a waits for "y" held by b; b waits for "z" held by c; `+
			`cycle: c waits for "x" held by a; a waits for "y" held by b; b waits for "z" held by c`)
		t.want("free", "not held")

		chain := t.want("y", `"y" held by b; b waits for "z" held by c; c waits for "x" held by a; a waits for "y" held by b; `+
			`cycle: b waits for "z" held by c; c waits for "x" held by a; a waits for "y" held by b`)
		last := chain.Links[3]
		if last.Key.String() != "y" || last.Waiter.Name != "a" || last.Holder.Token != chain.Links[0].Holder.Token ||
			last.Waiter.Token <= last.Holder.Token || last.Waiter.Since.Sub(began) > time.Second || len(chain.Cycle) != 3 {
			t.Errorf("got %+v", last)
		}
	})
}

func TestBlockingTellsAChainThatEnds(t *testing.T) {
	withProcesses(t, func(t *blockingTest) {
		t.hold(t.a, "x")
		t.hold(t.b, "y")
		t.wait(t.a, "y")
		t.wait(t.c, "y")
		t.want("x", `"x" held by a; a waits for "y" held by b`)
		foreign(t.T, t.a, keyspace.MustParse("theirs"))
		t.wait(t.b, "theirs")
		chain, err := t.c.Blocking(t.Context(), keyspace.MustParse("x"))
		if text := chain.String(); err != nil || len(chain.Links) != 3 || len(chain.Cycle) != 0 || !chain.Links[2].Holder.Foreign ||
			!strings.HasPrefix(text, `"x" held by a; a waits for "y" held by b; b waits for "theirs" held by a foreign owner with token `) {
			t.Errorf("got %s, %v", text, err)
		}
	})
}

// Some wait behind all that share. A cycle is found wherever it is, and the way to it is not in it.
func TestBlockingFollowsAllHoldersAndAllWaits(t *testing.T) {
	withProcesses(t, func(t *blockingTest) {
		t.hold(t.a, "x", locker.Shared())
		t.hold(t.b, "x", locker.Shared())
		t.want("x", `"x" held by a; "x" held by b`)
		t.hold(t.c, "y")
		t.hold(t.c, "z")
		t.wait(t.b, "y")
		t.wait(t.b, "z")
		t.want("x", `"x" held by a; "x" held by b; b waits for "y" held by c; b waits for "z" held by c`)
		t.wait(t.c, "x")
		t.want("x", `"x" held by a; "x" held by b; b waits for "y" held by c; c waits for "x" held by a; c waits for "x" held by b; b waits for "z" held by c; `+
			`cycle: b waits for "y" held by c; c waits for "x" held by b`)
		t.hold(t.a, "w")
		t.want("w", `"w" held by a`)
		t.wait(t.a, "y")
		t.want("w", `"w" held by a; a waits for "y" held by c; c waits for "x" held by a; c waits for "x" held by b; b waits for "y" held by c; b waits for "z" held by c; `+
			`cycle: a waits for "y" held by c; c waits for "x" held by a`)
	})
}

func TestALongChainIsShort(t *testing.T) {
	t.Parallel()
	link := locker.Link{Key: key, Holder: locker.Owner{Name: "a"}}
	chain := locker.Chain{}
	for range 20 {
		chain.Links = append(chain.Links, link)
	}
	if got := chain.String(); strings.Count(got, `"space/key" held by a`) != 16 || !strings.HasSuffix(got, "; and 4 more") {
		t.Errorf("got %s", got)
	}
}

func TestBlockingFailsAsAListDoes(t *testing.T) {
	withProcesses(t, func(t *blockingTest) {
		t.hold(t.a, "x")
		_, err := t.b.Blocking(t.Context(), keyspace.Key{})
		locktest.WantErr(t, err, keyspace.ErrInvalid)
		_, err = t.b.Blocking(canceled(), key)
		locktest.WantErr(t, err, context.Canceled)
		lockertest.Disconnect(t.b)
		chain, err := t.b.Blocking(t.Context(), key)
		lockertest.Reconnect(t.b)
		locktest.WantErr(t, err, locker.ErrUnavailable)
		if e, ok := errors.AsType[*locker.Error](err); !ok || e.Op != "blocking" || e.Key != key.String() || chain.Links != nil {
			t.Errorf("got %v, %#v", chain, err)
		}
		locktest.Must(t, t.b.Close())
		_, err = t.b.Blocking(t.Context(), key)
		locktest.WantErr(t, err, locker.ErrClosed)
	})
}
