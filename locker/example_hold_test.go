package locker_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func ExampleHold_Context() {
	client := dial()
	defer client.Close()
	l := open(client)
	defer l.Close()
	ctx, key := context.Background(), keyspace.MustParse("job")

	h, err := l.Acquire(ctx, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer h.Release(ctx)

	// Meanwhile somebody deletes all locks by hand.
	if _, err := client.Delete(ctx, "/elock/", clientv3.WithPrefix()); err != nil {
		fmt.Println(err)
		return
	}

	select {
	case <-time.After(time.Minute):
		fmt.Println("done")
	case <-h.Context().Done():
		cause := context.Cause(h.Context())
		fmt.Println(errors.Is(cause, locker.ErrLost))
	}
	// Output: true
}

func ExampleLostError() {
	client := dial()
	defer client.Close()
	l := open(client)
	defer l.Close()
	ctx, key := context.Background(), keyspace.MustParse("job")

	err := l.RunInLock(ctx, key, func(ctx context.Context, h *locker.Hold) error {
		if _, err := l.Evict(ctx, key); err != nil { // an operator, elsewhere
			return err
		}
		<-ctx.Done() // so the work stops
		return nil
	})
	if lost, ok := errors.AsType[*locker.LostError](err); ok {
		fmt.Println(lost.Reason, lost.Reason == locker.ReasonEvicted, lost.Token > 0)
	}
	// Output: evicted true true
}

func ExampleHold_Token() {
	client := dial()
	defer client.Close()
	l := open(client)
	defer l.Close()
	ctx, key := context.Background(), keyspace.MustParse("account/42")

	// The resource remembers the highest token that has written to it. In a
	// database: UPDATE account SET balance = $2, token = $1
	// WHERE id = 42 AND token <= $1
	var stored struct {
		balance int
		token   locker.Token
	}
	write := func(balance int, token locker.Token) bool {
		if stored.token > token {
			return false // a later holder was here
		}
		stored.balance, stored.token = balance, token
		return true
	}

	first, err := l.Acquire(ctx, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	first.Release(ctx)
	second, err := l.Acquire(ctx, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer second.Release(ctx)

	fmt.Println(write(100, second.Token()))
	fmt.Println(write(50, first.Token())) // a holder that woke up late
	fmt.Println(stored.balance)
	// Output:
	// true
	// false
	// 100
}

func ExampleHold_Fence() {
	client := dial()
	defer client.Close()
	l := open(client)
	defer l.Close()
	ctx, key := context.Background(), keyspace.MustParse("config")

	h, err := l.Acquire(ctx, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	put := func(value string) {
		resp, err := client.Txn(ctx).If(h.Fence()).Then(clientv3.OpPut("/config", value)).Commit()
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(value, "written:", resp.Succeeded)
	}
	put("a")
	h.Release(ctx)
	put("b")
	// Output:
	// a written: true
	// b written: false
}

func ExampleHoldFrom() {
	client := dial()
	defer client.Close()
	l := open(client)
	defer l.Close()
	key := keyspace.MustParse("account/42")

	// withdraw is called with and without the lock.
	var withdraw func(ctx context.Context) error
	withdraw = func(ctx context.Context) error {
		if h, ok := locker.HoldFrom(ctx); ok && h.Key() == key && h.Err() == nil {
			fmt.Println("withdrawing")
			return nil
		}
		return l.RunInLock(ctx, key, func(ctx context.Context, _ *locker.Hold) error { return withdraw(ctx) })
	}
	fmt.Println(withdraw(context.Background()))

	// Waiting for a lock that the context already holds would never end.
	err := l.RunInLock(context.Background(), key, func(ctx context.Context, _ *locker.Hold) error {
		_, err := l.Acquire(ctx, key)
		return err
	})
	fmt.Println(errors.Is(err, locker.ErrDeadlock))
	// Output:
	// withdrawing
	// <nil>
	// true
}

func ExampleWithMaxHeldTime() {
	client := dial()
	defer client.Close()

	called := make(chan struct{})
	l := open(client,
		locker.WithMaxHeldTime(20*time.Millisecond),
		locker.WithMonitorTicks(10*time.Millisecond),
		locker.WithTimeoutCallback(func(key string, held time.Duration) {
			fmt.Println(key, "was held too long:", held > 20*time.Millisecond)
			close(called)
		}))
	defer l.Close()

	err := l.RunInLock(context.Background(), keyspace.MustParse("job"), func(ctx context.Context, _ *locker.Hold) error {
		<-ctx.Done()
		return nil
	})
	<-called
	fmt.Println(errors.Is(err, locker.ErrMaxHeld))
	// Output:
	// job was held too long: true
	// true
}
