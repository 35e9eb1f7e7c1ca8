package locker_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func ExampleLocker_AcquireAll() {
	client := dial()
	defer client.Close()
	l := open(client)
	defer l.Close()
	ctx, accounts := context.Background(), keyspace.MustNew[int]("account")

	// Whoever names them in another order does not deadlock with this.
	h, err := l.AcquireAll(ctx, []keyspace.Key{accounts.Key(7), accounts.Key(3)})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer h.Release(ctx)
	fmt.Println(len(h.Tokens()), "locks, one hold")
	// Output: 2 locks, one hold
}

func ExampleShared() {
	client := dial()
	defer client.Close()
	l := open(client)
	defer l.Close()
	ctx, key := context.Background(), keyspace.MustParse("catalogue")

	for range 2 {
		reader, err := l.Acquire(ctx, key, locker.Shared())
		if err != nil {
			fmt.Println(err)
			return
		}
		defer reader.Release(ctx)
	}
	_, err := l.TryAcquire(ctx, key) // to write
	fmt.Println(errors.Is(err, locker.ErrLocked))
	// Output: true
}

// A counter in etcd: read with the acquire, written with the release, and only if
// the lock is still held. guard.Stored does this for values of any type.
func ExampleHold_Commit() {
	client := dial()
	defer client.Close()
	l := open(client)
	defer l.Close()
	ctx, key := context.Background(), keyspace.MustParse("visitors")
	counter := key.ValuePath(l.Prefix())
	defer client.Delete(ctx, counter)

	for range 2 {
		h, err := l.Acquire(ctx, key, locker.ReadKeys(counter))
		if err != nil {
			fmt.Println(err)
			return
		}
		n := 0
		if kv := h.Read()[0]; kv != nil {
			n, _ = strconv.Atoi(string(kv.Value))
		}
		done, err := h.Commit(ctx, nil, clientv3.OpPut(counter, strconv.Itoa(n+1)))
		fmt.Println(n+1, done, err)
	}
	// Output:
	// 1 true <nil>
	// 2 true <nil>
}

// The lock is retained, so nothing is read again: Commit compares what was put last.
func ExampleReadKnown() {
	client := dial()
	defer client.Close()
	l := open(client, locker.WithRetain(time.Minute))
	defer l.Close()
	ctx, key := context.Background(), keyspace.MustParse("turnstile")
	counter := key.ValuePath(l.Prefix())
	defer client.Delete(ctx, counter)

	for range 3 {
		h, err := l.Acquire(ctx, key, locker.ReadKnown(counter))
		if err != nil {
			fmt.Println(err)
			return
		}
		n, rev := 0, int64(0)
		if kv := h.Read()[0]; kv != nil {
			n, _ = strconv.Atoi(string(kv.Value))
			rev = kv.ModRevision
		}
		unchanged := clientv3.Compare(clientv3.ModRevision(counter), "=", rev)
		done, err := h.Commit(ctx, []clientv3.Cmp{unchanged}, clientv3.OpPut(counter, strconv.Itoa(n+1)))
		fmt.Println(n+1, done, err) // false: read it anew, with ReadKeys
	}
	// Output:
	// 1 true <nil>
	// 2 true <nil>
	// 3 true <nil>
}
