package election_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/phpgao/elock/election"
	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

var scheduler = keyspace.MustParse("scheduler")

// open returns the election as a node sees it.
func open(l *locker.Locker) *election.Election[string] {
	e, err := election.New(l, scheduler, guard.Bytes[string]())
	if err != nil {
		panic(err)
	}
	return e
}

func ExampleNew() {
	a, _, done := locktest.OpenPair()
	defer done()
	// What a leader announces.
	type status struct {
		Addr string
		Jobs int
	}
	e, err := election.New(a, scheduler, guard.JSON[status]())
	if err != nil {
		fmt.Println(err)
		return
	}
	t, err := e.Campaign(context.Background(), status{"10.0.0.7:80", 0})
	fmt.Println(err)
	fmt.Println(t.Proclaim(context.Background(), status{"10.0.0.7:80", 12}))
	now, err := e.Leader(context.Background())
	fmt.Println(now.Name, now.Value, err)
	// Output:
	// <nil>
	// <nil>
	// a {10.0.0.7:80 12} <nil>
}

// Run leads as often as it is elected, until its context ends.
func ExampleElection_Run() {
	a, _, done := locktest.OpenPair()
	defer done()
	e := open(a)
	ctx, stop := context.WithCancel(context.Background())

	terms := 0
	err := e.Run(ctx, "10.0.0.7:80", func(ctx context.Context, t *election.Term[string]) error {
		terms++
		fmt.Println("leads", e.IsLeader())
		if terms == 1 {
			lockertest.Expire(a) // for example
		} else {
			stop() // the program is to end
		}
		<-ctx.Done() // work until then
		fmt.Println(context.Cause(ctx))
		return nil
	})
	fmt.Println(err, e.IsLeader())
	// Output:
	// leads true
	// locker: lock lost: lease expired (token 131072)
	// leads true
	// context canceled
	// <nil> false
}

func ExampleElection_Campaign() {
	a, b, done := locktest.OpenPair()
	defer done()
	ctx := context.Background()

	t, err := open(a).Campaign(ctx, "10.0.0.7:80")
	fmt.Println(err)

	brief, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	_, err = open(b).Campaign(brief, "10.0.0.8:80")
	fmt.Println(errors.Is(err, locker.ErrLocked))

	fmt.Println(t.Resign(ctx))
	t, err = open(b).Campaign(ctx, "10.0.0.8:80")
	fmt.Println(t.Resign(ctx), err)
	// Output:
	// <nil>
	// true
	// <nil>
	// <nil> <nil>
}

func ExampleElection_Leader() {
	a, b, done := locktest.OpenPair()
	defer done()
	ctx := context.Background()

	_, err := open(b).Leader(ctx)
	fmt.Println(errors.Is(err, election.ErrNoLeader))
	open(a).Campaign(ctx, "10.0.0.7:80")
	now, err := open(b).Leader(ctx)
	fmt.Println(now.Name, now.Value, err)
	// Output:
	// true
	// a 10.0.0.7:80 <nil>
}

func ExampleElection_Observe() {
	a, b, done := locktest.OpenPair()
	defer done()
	ctx := context.Background()
	first, _ := open(a).Campaign(ctx, "starts")

	for now, err := range open(b).Observe(ctx) {
		switch {
		case err != nil:
			fmt.Println(err)
		case now.Vacant():
			fmt.Println("nobody leads")
			return
		case now.Value == "starts":
			fmt.Println(now.Name, now.Value)
			first.Proclaim(ctx, "is ready")
		default:
			fmt.Println(now.Name, now.Value)
			first.Resign(ctx)
		}
	}
	// Output:
	// a starts
	// a is ready
	// nobody leads
}

func ExampleLeader_Vacant() {
	fmt.Println(election.Leader[string]{}.Vacant())
	// Output: true
}

func ExampleElection_IsLeader() {
	a, _, done := locktest.OpenPair()
	defer done()
	e := open(a)
	fmt.Println(e.IsLeader())
	t, _ := e.Campaign(context.Background(), "")
	fmt.Println(e.IsLeader())
	t.Resign(context.Background())
	fmt.Println(e.IsLeader())
	// Output:
	// false
	// true
	// false
}

// The term has a context, a token for other stores, and a fence for etcd.
func ExampleTerm() {
	a, _, done := locktest.OpenPair()
	defer done()
	ctx := context.Background()
	t, _ := open(a).Campaign(ctx, "10.0.0.7:80")

	client := lockertest.Client(a)
	resp, err := client.Txn(ctx).If(t.Fence()).Then( /* writes of the leader */ ).Commit()
	fmt.Println(resp.Succeeded, err)
	fmt.Println(t.Token() > 0, t.Context().Err())
	t.Resign(ctx)
	resp, err = client.Txn(ctx).If(t.Fence()).Commit()
	fmt.Println(resp.Succeeded, err)
	fmt.Println(context.Cause(t.Context()))
	// Output:
	// true <nil>
	// true <nil>
	// false <nil>
	// locker: lock released
}

func ExampleTerm_Proclaim() {
	a, b, done := locktest.OpenPair()
	defer done()
	ctx := context.Background()
	t, _ := open(a).Campaign(ctx, "starting")
	fmt.Println(t.Proclaim(ctx, "ready"))
	now, _ := open(b).Leader(ctx)
	fmt.Println(now.Value)
	// Output:
	// <nil>
	// ready
}

func ExampleTerm_Resign() {
	a, _, done := locktest.OpenPair()
	defer done()
	ctx := context.Background()
	t, _ := open(a).Campaign(ctx, "")
	fmt.Println(t.Resign(ctx))
	// Output: <nil>
}

// A rolling deploy hands over to the process that is up to date.
func ExampleTerm_ResignTo() {
	a, b, done := locktest.OpenPair()
	defer done()
	ctx := context.Background()
	t, _ := open(a).Campaign(ctx, "version 1")

	led, ended := make(chan string), make(chan error)
	go func() {
		ended <- open(b).Run(ctx, "version 2", func(ctx context.Context, t *election.Term[string]) error {
			led <- "b leads"
			return nil
		})
	}()
	fmt.Println(t.ResignTo(ctx, "b")) // the name by locker.WithOwner
	fmt.Println(<-led)
	fmt.Println(<-ended)
	// Output:
	// <nil>
	// b leads
	// <nil>
}

func ExampleAcquiring() {
	a, _, done := locktest.OpenPair()
	defer done()
	// A dead leader is replaced in 5 seconds, and nobody leads for more than a day.
	_, err := election.New(a, scheduler, guard.Bytes[string](),
		election.Acquiring(locker.TTL(5*time.Second), locker.MaxHeld(24*time.Hour)))
	fmt.Println(err)
	// Output: <nil>
}
