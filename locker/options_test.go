package locker_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func TestLocksLiveUnderThePrefix(t *testing.T) {
	t.Parallel()
	s := etcdtest.StartOwn(t) // the default prefix is shared elsewhere
	client, unique := s.Client(t), s.Prefix(t)
	rows := []struct {
		opts []locker.Option
		key  string
		dir  string
	}{
		{nil, unique, "/elock/" + unique + "/"},
		{nil, unique + "/k", "/elock/" + unique + ":/k/"},
		{[]locker.Option{locker.WithPrefix(unique)}, "k", "/" + unique + "/k/"},
		{[]locker.Option{locker.WithPrefix("/" + unique + "/")}, "l", "/" + unique + "/l/"},
		{[]locker.Option{locker.WithPrefix(unique + "/sub")}, "k/l", "/" + unique + ":/sub/k:/l/"},
	}
	for _, r := range rows {
		l := newLocker(t, client, r.opts...)
		h := locktest.Acquire(t, l, keyspace.MustParse(r.key))
		resp, err := client.Get(t.Context(), r.dir, clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil || resp.Count != 1 {
			t.Errorf("lock %q: %v, %v; want one key in %s", r.key, resp, err, r.dir)
		}
		locktest.Release(t, h)
	}
}

func TestAPrefixAndAKeyNeverMeetAnotherPrefixAndKey(t *testing.T) {
	t.Parallel()
	p := etcdtest.Start(t).Prefix(t)
	names := []struct{ prefix, key string }{
		{p, "k"}, {p, "q/k"}, {p + "/q", "k"}, {p + "/q", "k/q"}, {p, "q/k/q"}, {p + "/q/k", "q"}, {p + "/q:", "k"}, {p, "q:/k"},
	}
	for _, n := range names { // all of them are held together
		k := keyspace.MustParse(n.key)
		locktest.Acquire(t, beside(t, n.prefix), k)
		locktest.WantErr(t, locktest.Second(beside(t, n.prefix).TryAcquire(t.Context(), k)), locker.ErrLocked)
	}
}

func TestATTLIsNeverChangedSilently(t *testing.T) {
	t.Parallel()
	_, _, client, prefix := newPair(t)
	for _, ttl := range []int{1, 7} {
		var log locktest.Log
		l := beside(t, prefix, log.Option())
		h := locktest.Acquire(t, l, key, locker.TTL(time.Duration(ttl)*time.Second))
		granted := grantedTTL(t, client, prefix)
		locktest.Release(t, h)
		said := strings.Contains(log.String(), fmt.Sprintf("asked=%d granted=%d", ttl, granted))
		if changed := granted != int64(ttl); said != changed {
			t.Errorf("TTL %d: etcd granted %d, and the log says: %q", ttl, granted, &log)
		}
	}
}

// grantedTTL returns the TTL of the only lock under prefix.
func grantedTTL(tb testing.TB, client *clientv3.Client, prefix string) int64 {
	tb.Helper()
	locks, err := client.Get(tb.Context(), "/"+prefix+"/", clientv3.WithPrefix())
	if err != nil || len(locks.Kvs) != 1 {
		tb.Fatalf("locks: %v, %v", locks, err)
	}
	lease, err := client.TimeToLive(tb.Context(), clientv3.LeaseID(locks.Kvs[0].Lease))
	if err != nil {
		tb.Fatal(err)
	}
	return lease.GrantedTTL
}

func TestTheSuccessCallbackRunsOnceForEachAcquireWhileTheLockIsHeld(t *testing.T) {
	t.Parallel()
	b, _, _, prefix := newPair(t)
	var called []string // the callback runs on this goroutine
	a := beside(t, prefix, locker.WithSuccessCallback(func(name string) {
		called = append(called, name)
		locktest.WantErr(t, locktest.Second(b.TryAcquire(t.Context(), key)), locker.ErrLocked)
	}))
	for form, hold := range map[string]func(do func()) error{
		"Acquire":    func(do func()) error { h := locktest.Acquire(t, a, key); do(); return h.Release(t.Context()) },
		"TryAcquire": func(do func()) error { h, _ := a.TryAcquire(t.Context(), key); do(); return h.Release(t.Context()) },
		"RunInLock": func(do func()) error {
			return a.RunInLock(t.Context(), key, func(context.Context, *locker.Hold) error { do(); return nil })
		},
	} {
		called = nil
		locktest.WantErr(t, hold(func() {
			if len(called) != 1 || called[0] != key.String() {
				t.Errorf("%s: callbacks %q", form, called)
			}
			locktest.WantErr(t, locktest.Second(a.TryAcquire(t.Context(), key)), locker.ErrLocked)
		}), nil)
		if len(called) != 1 {
			t.Errorf("%s: a try that failed called back: %q", form, called)
		}
	}
}
