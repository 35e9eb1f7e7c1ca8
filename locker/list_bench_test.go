package locker_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// many are the locks of tests that list many.
var many = keyspace.MustNew[int]("many")

// putHeld puts the entries of n locks, as a process puts them that holds these, and a value of a guard beside each tenth.
func putHeld(tb testing.TB, client *clientv3.Client, prefix, owner string, n int) {
	tb.Helper()
	ctx := context.Background()
	lease, err := client.Grant(ctx, 600)
	locktest.Must(tb, err)
	entry := string(record.Record{Version: record.Version, Owner: owner, Mode: record.Exclusive, Since: time.Now(), Nonce: 1}.Encode())
	var ops []clientv3.Op
	for i := range n {
		key := many.Key(i)
		ops = append(ops, clientv3.OpPut(fmt.Sprintf("%s%x", key.Path(prefix), lease.ID), entry, clientv3.WithLease(lease.ID)))
		if i%10 == 0 {
			ops = append(ops, clientv3.OpPut(key.ValuePath(prefix), entry))
		}
		if len(ops) > 100 || i == n-1 {
			_, err := client.Txn(ctx).Then(ops...).Commit()
			locktest.Must(tb, err)
			ops = ops[:0]
		}
	}
}

// listed lists all locks below "many". It returns how many there are, how long that took, and by how much the heap
// grew at most, looked at every 2500 locks.
func listed(tb testing.TB, l *locker.Locker) (n int, took time.Duration, heap int64) {
	tb.Helper()
	before := heapInUse()
	began := time.Now()
	for _, err := range l.List(context.Background(), "many") {
		locktest.Must(tb, err)
		if n++; n%2500 == 0 {
			took += time.Since(began)
			heap = max(heap, heapInUse()-before)
			began = time.Now()
		}
	}
	return n, took + time.Since(began), heap
}

// It is not parallel: the heap is that of the process.
func TestTheTimeOfAListIsThatOfItsLocksAndItsMemoryThatOfAPage(t *testing.T) {
	s := etcdtest.Start(t)
	var each [2]time.Duration
	for i, n := range []int{1000, 10_000} {
		prefix := s.Prefix(t)
		putHeld(t, s.Root(t), prefix, strings.Repeat("o", 1000), n)
		l := newLocker(t, s.Client(t), locker.WithPrefix(prefix))
		for range 5 { // the least of several: the machine may be busy
			got, took, heap := listed(t, l)
			if got != n {
				t.Fatalf("%d locks, want %d", got, n)
			}
			if took /= time.Duration(n); each[i] == 0 || took < each[i] {
				each[i] = took
			}
			if heap > 10<<20 { // all 10,000 are 14 MB
				t.Errorf("%d locks: %d bytes", n, heap)
			}
		}
	}
	t.Logf("%v for each of 1,000 locks, %v for each of 10,000", each[0], each[1])
	if each[1] > 4*each[0] {
		t.Errorf("each of 10,000 locks takes %v, each of 1,000 takes %v", each[1], each[0])
	}
}

// BenchmarkList shows that the time for each lock does not depend on how many there are, nor the memory.
func BenchmarkList(b *testing.B) {
	s := etcdtest.Start(b)
	for _, n := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("locks=%d", n), func(b *testing.B) {
			prefix := s.Prefix(b)
			putHeld(b, s.Root(b), prefix, "web-1:4711", n)
			l := newLocker(b, s.Client(b), locker.WithPrefix(prefix))
			runtime.GC()
			var sum time.Duration
			var most int64
			for b.Loop() {
				got, took, heap := listed(b, l)
				if got != n {
					b.Fatalf("%d locks, want %d", got, n)
				}
				sum, most = sum+took, max(most, heap)
			}
			b.ReportMetric(float64(sum.Nanoseconds())/float64(b.N*n), "ns/lock")
			b.ReportMetric(float64(most), "heap-B")
		})
	}
}
