package locker_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// dial returns a client of the etcd that the tests use. A program calls
// clientv3.New.
func dial() *clientv3.Client {
	client, err := etcdtest.Dial()
	if err != nil {
		panic(err)
	}
	return client
}

// open is locker.New for examples that are about something else.
func open(client *clientv3.Client, opts ...locker.Option) *locker.Locker {
	l, err := locker.New(client, opts...)
	if err != nil {
		panic(err)
	}
	return l
}

func ExampleNew() {
	client := dial() // clientv3.New(clientv3.Config{Endpoints: ...})
	defer client.Close()

	l, err := locker.New(client,
		locker.WithPrefix("shop"),
		locker.WithTTL(10*time.Second),
		locker.WithOwner("worker-7"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close() // the client stays open

	// A bad option is told before anything is sent.
	_, err = locker.New(client, locker.WithTTL(0))
	fmt.Println(errors.Is(err, locker.ErrInvalidTTL))
	// Output: true
}

func ExampleLocker_Acquire() {
	client := dial()
	defer client.Close()
	l := open(client)
	defer l.Close()

	// The context bounds the wait, not the hold.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	h, err := l.Acquire(ctx, keyspace.MustParse("reports/nightly"), locker.TTL(5*time.Second))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("holding", h.Key())

	// Release works under a context that is done already.
	if err := h.Release(ctx); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(h.Err())
	// Output:
	// holding reports/nightly
	// locker: lock released
}

func ExampleLocker_TryAcquire() {
	client := dial()
	defer client.Close()
	ann, bob := open(client), open(client) // two processes
	defer ann.Close()
	defer bob.Close()
	ctx, key := context.Background(), keyspace.MustParse("job")

	h, err := ann.TryAcquire(ctx, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = bob.TryAcquire(ctx, key)
	fmt.Println(errors.Is(err, locker.ErrLocked))
	fmt.Println(h.Release(ctx))
	// Output:
	// true
	// <nil>
}

func ExampleLocker_RunInLock() {
	client := dial()
	defer client.Close()
	l := open(client)
	defer l.Close()

	key := keyspace.MustParse("reports/nightly")
	err := l.RunInLock(context.Background(), key, func(ctx context.Context, h *locker.Hold) error {
		// ctx is done when the caller's is, and when the lock is lost.
		fmt.Println("holding", h.Key(), ctx.Err())
		return errors.New("printer on fire")
	})
	fmt.Println(err) // the function's own error
	// Output:
	// holding reports/nightly <nil>
	// printer on fire
}

func ExampleLocker_Shutdown() {
	client := dial()
	defer client.Close()
	l := open(client)
	ctx, key := context.Background(), keyspace.MustParse("job")

	started, finish := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		done <- l.RunInLock(ctx, key, func(context.Context, *locker.Hold) error {
			close(started)
			<-finish
			return nil
		})
	}()
	<-started

	// Like http.Server: what runs may finish, for as long as the context lasts.
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	fmt.Println(errors.Is(l.Shutdown(short), context.DeadlineExceeded))
	_, err := l.TryAcquire(ctx, keyspace.MustParse("another"))
	fmt.Println(errors.Is(err, locker.ErrClosed))

	close(finish)
	fmt.Println(<-done)
	fmt.Println(l.Shutdown(ctx))
	// Output:
	// true
	// true
	// <nil>
	// <nil>
}
