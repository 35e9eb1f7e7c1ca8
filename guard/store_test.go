package guard_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// A store is a place in etcd of one test's own, as a stranger without the lock
// sees it.
type store struct {
	*etcdtest.Server
	client *clientv3.Client
	prefix string
}

func newStore(tb testing.TB) store {
	s := etcdtest.Start(tb)
	return store{s, s.Client(tb), s.Prefix(tb)}
}

// locker returns the Locker of one more process.
func (s store) locker(tb testing.TB, opts ...locker.Option) *locker.Locker {
	tb.Helper()
	return s.lockerOn(tb, s.Client(tb), opts...)
}

func (s store) lockerOn(tb testing.TB, client *clientv3.Client, opts ...locker.Option) *locker.Locker {
	tb.Helper()
	return newLocker(tb, client, append(opts, locker.WithPrefix(s.prefix))...)
}

// name is where the value of space/key is.
func (s store) name() string { return s.nameOf(key) }

func (s store) nameOf(k keyspace.Key) string { return k.ValuePath(s.prefix) }

// put writes the value of space/key, and returns its revision.
func (s store) put(tb testing.TB, value string) int64 {
	tb.Helper()
	resp, err := s.client.Put(tb.Context(), s.name(), value)
	if err != nil {
		tb.Fatal(err)
	}
	return resp.Header.Revision
}

func (s store) delete(tb testing.TB) {
	tb.Helper()
	if _, err := s.client.Delete(tb.Context(), s.name()); err != nil {
		tb.Fatal(err)
	}
}

// wantStored fails the test unless the value of k is want.
func (s store) wantStored(tb testing.TB, k keyspace.Key, want string) {
	tb.Helper()
	resp, err := s.client.Get(context.Background(), s.nameOf(k))
	if err != nil {
		tb.Fatal(err)
	}
	if len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != want {
		tb.Fatalf("stored is %v, want %q", resp.Kvs, want)
	}
}

// wantAbsent fails the test if there is a value of space/key.
func (s store) wantAbsent(tb testing.TB) {
	tb.Helper()
	resp, err := s.client.Get(context.Background(), s.name())
	if err != nil {
		tb.Fatal(err)
	}
	if len(resp.Kvs) != 0 {
		tb.Fatalf("stored is %v, want nothing", resp.Kvs)
	}
}

// counter returns a guard of a stored number.
func counter(l *locker.Locker, opts ...guard.Option[int]) *guard.Guard[int] {
	return guard.New(l, key, slices.Concat([]guard.Option[int]{guard.Stored(guard.JSON[int]())}, opts)...)
}

// A lame codec fails in the way of its errors.
type lame struct{ marshal, unmarshal error }

func (c lame) Marshal(n int) ([]byte, error) {
	data, _ := json.Marshal(n)
	return data, c.marshal
}

func (c lame) Unmarshal(data []byte) (n int, err error) {
	_ = json.Unmarshal(data, &n)
	return n, c.unmarshal
}

// wantValue fails the test unless got is want and err is nil.
func wantValue[T comparable](tb testing.TB, got T, err error, want T) {
	tb.Helper()
	if got != want || err != nil {
		tb.Fatalf("got %v, %v; want %v and no error", got, err, want)
	}
}
