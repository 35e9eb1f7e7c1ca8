package locker_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func ExampleLocker_Inspect() {
	client := dial()
	defer client.Close()
	ann := open(client, locker.WithOwner("ann")) // in one process
	defer ann.Close()
	ops := open(client, locker.WithOwner("ops")) // in another
	defer ops.Close()
	ctx, key := context.Background(), keyspace.MustParse("job")

	h, err := ann.Acquire(ctx, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer h.Release(ctx)

	q, err := ops.Inspect(ctx, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, o := range q.Holders {
		fmt.Println("held by", o.Name, o.Token == h.Token())
	}
	fmt.Println(len(q.Waiters), "waiting")
	// Output:
	// held by ann true
	// 0 waiting
}

func ExampleLocker_Evict() {
	client := dial()
	defer client.Close()
	ann, ops := open(client), open(client)
	defer ann.Close()
	defer ops.Close()
	ctx, key := context.Background(), keyspace.MustParse("job")

	h, err := ann.Acquire(ctx, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(ops.Evict(ctx, key))
	fmt.Println(ops.Evict(ctx, key)) // nobody holds it now

	<-h.Context().Done()
	fmt.Println(errors.Is(h.Err(), locker.ErrLost))
	// Output:
	// true <nil>
	// false <nil>
	// true
}

// A queueLog tells for whom a lock has to be waited. Embedding NopHook, it
// leaves out the other methods.
type queueLog struct{ locker.NopHook }

func (queueLog) Blocked(_ context.Context, d locker.BlockedData) {
	fmt.Printf("%v: behind %s, for %q\n", d.Key, d.By.Name, d.By.Annotations["task"])
}

// A taskNote writes a note into the record that others see.
type taskNote struct {
	locker.NopHook
	task string
}

func (n taskNote) AcquireStart(ctx context.Context, _ locker.AcquireStartData) (context.Context, map[string]string) {
	return ctx, map[string]string{"task": n.task}
}

func ExampleHook() {
	client := dial()
	defer client.Close()
	ann := open(client, locker.WithOwner("ann"), locker.WithHook(taskNote{task: "reindex"}))
	defer ann.Close()
	bob := open(client, locker.WithHook(queueLog{}))
	defer bob.Close()
	ctx, key := context.Background(), keyspace.MustParse("job")

	h, err := ann.Acquire(ctx, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer h.Release(ctx)
	_, err = bob.TryAcquire(ctx, key)
	fmt.Println(errors.Is(err, locker.ErrLocked))
	// Output:
	// job: behind ann, for "reindex"
	// true
}
