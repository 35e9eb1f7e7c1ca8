package locker_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// collect returns all that a listing yields, as "key: holders", or "key: holders < waiters", and its error.
func collect(list iter.Seq2[locker.Queue, error]) (all []string, err error) {
	names := func(owners []locker.Owner) (names string) {
		for _, o := range owners {
			name := o.Name
			if o.Foreign {
				name = "foreign"
			}
			names += " " + name
		}
		return names
	}
	for q, e := range list {
		if e != nil {
			if err != nil || !q.Key.IsZero() {
				panic("an error is not the last")
			}
			err = e
			continue
		}
		text := q.Key.String() + ":" + names(q.Holders)
		if len(q.Waiters) > 0 {
			text += " <" + names(q.Waiters)
		}
		all = append(all, text)
	}
	return all, err
}

func listError(list iter.Seq2[locker.Queue, error]) error { return locktest.Second(collect(list)) }

func wantList(tb testing.TB, list iter.Seq2[locker.Queue, error], want ...string) {
	tb.Helper()
	if got, err := collect(list); err != nil || !slices.Equal(got, want) {
		tb.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// queueFor has l wait for a key, and returns what waits until it has held and released.
func queueFor(t *testing.T, l *locker.Locker, k keyspace.Key, opts ...locker.AcquireOption) (done func() error) {
	t.Helper()
	q, err := l.Inspect(t.Context(), k)
	locktest.Must(t, err)
	done = locktest.Async(t, func() error {
		h, err := l.Acquire(context.Background(), k, opts...)
		if err != nil {
			return err
		}
		return h.Release(context.Background())
	})
	locktest.UntilQueued(t, l, k, len(q.Holders)+len(q.Waiters)+1)
	return done
}

// foreign puts the entry of an owner that is not of this package.
func foreign(t *testing.T, l *locker.Locker, k keyspace.Key) {
	t.Helper()
	client := lockertest.Client(l)
	lease, err := client.Grant(t.Context(), 1e6)
	locktest.Must(t, err)
	_, err = client.Put(t.Context(), fmt.Sprintf("%s%x", k.Path(l.Prefix()), lease.ID), "", clientv3.WithLease(lease.ID))
	locktest.Must(t, err)
}

func TestAListHasTheLocksBelowANameWithTheirOwners(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		wantList(t, a.List(t.Context(), ""))
		k := keyspace.MustParse
		solo, read, retained := locktest.Acquire(t, a, k("solo")), locktest.Acquire(t, a, k("space/read"), locker.Shared()), k("space/deep/odd: 50%")
		locktest.Acquire(t, b, k("space/read"), locker.Shared())
		locktest.Acquire(t, b, retained)
		foreign(t, a, k("space/theirs"))
		waits := []func() error{queueFor(t, b, k("solo")), queueFor(t, b, keyspace.MustParse("space/theirs"))}
		client := lockertest.Client(a)
		for _, path := range []string{k("space/value").ValuePath(a.Prefix()), k("space/job").ValuePath(a.Prefix()) + "%once"} {
			_, err := client.Put(t.Context(), path, "value")
			locktest.Must(t, err)
		}

		deep, theirs, shared := "space/deep/odd: 50%: b", "space/theirs: foreign < b", "space/read: a b"
		wantList(t, a.List(t.Context(), ""), "solo: a < b", deep, shared, theirs)
		wantList(t, b.List(t.Context(), "space"), deep, shared, theirs)
		wantList(t, b.List(t.Context(), "space/deep"), deep)
		wantList(t, a.List(t.Context(), "solo"))
		wantList(t, a.List(t.Context(), "space/re"))

		for q, err := range a.List(t.Context(), "") {
			same, failed := a.Inspect(t.Context(), q.Key)
			if err != nil || failed != nil || fmt.Sprintf("%#v", q) != fmt.Sprintf("%#v", same) {
				t.Errorf("%v, %v: got %#v, Inspect has %#v", err, failed, q, same)
			}
		}
		locktest.Release(t, solo)
		locktest.Release(t, read)
		locktest.Must(t, waits[0]())
		wantList(t, a.List(t.Context(), ""), deep, "space/read: b", theirs)
		_, err := a.Evict(t.Context(), k("space/theirs"))
		locktest.Must(t, err)
		locktest.Must(t, waits[1]())
	})
}

func TestARetainedLockIsListedWithItsProcess(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t, locker.WithRetain(time.Hour))
		locktest.Release(t, locktest.Acquire(t, a, key))
		wantList(t, b.List(t.Context(), ""), "space/key: a")
	})
}

func TestAListHasWhatItsOptionsSelect(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		k := keyspace.MustParse
		old := locktest.Acquire(t, a, k("1"))
		foreign(t, a, k("2"))
		time.Sleep(time.Hour)
		waits := queueFor(t, b, k("1"))
		locktest.Acquire(t, b, k("3"))
		time.Sleep(time.Minute)
		locktest.Acquire(t, b, k("4"))
		list := func(opts ...locker.ListOption) iter.Seq2[locker.Queue, error] {
			return a.List(t.Context(), "", opts...)
		}
		wantList(t, list(), "1: a < b", "2: foreign", "3: b", "4: b")
		wantList(t, list(locker.ListContended()), "1: a < b")
		wantList(t, list(locker.ListOwner("a")), "1: a < b")
		wantList(t, list(locker.ListOwner("b")), "1: a < b", "3: b", "4: b")
		wantList(t, list(locker.ListOwner("c")))
		wantList(t, list(locker.ListAge(0)), "1: a < b", "2: foreign", "3: b", "4: b")
		wantList(t, list(locker.ListAge(time.Minute)), "1: a < b", "3: b")
		wantList(t, list(locker.ListAge(time.Minute+time.Second)), "1: a < b")
		wantList(t, list(locker.ListAge(time.Minute+time.Second), locker.ListOwner("b")))
		wantList(t, list(locker.ListAge(time.Minute), locker.ListOwner("b"), locker.ListContended()), "1: a < b")
		locktest.Release(t, old)
		locktest.Must(t, waits())
	})
}

// holdMany puts the entries of n locks that a holds.
func holdMany(t *testing.T, a *locker.Locker, n int) {
	t.Helper()
	putHeld(t, lockertest.Client(a), a.Prefix(), "a", n)
}

// While the loop runs, all locks pass on to others, and others come. The second page has them as they were.
func TestALockThatPassesOnDuringAListIsListedOnceAsItWas(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		const n = 2500 // more than a page
		holdMany(t, a, n)
		client, found := lockertest.Client(b), map[keyspace.Key]int{}
		for q, err := range a.List(t.Context(), "") {
			locktest.Must(t, err)
			if len(found) == 0 {
				resp, err := client.Get(t.Context(), "/elock/many:/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
				locktest.Must(t, err)
				for _, kv := range resp.Kvs {
					_, err := client.Delete(t.Context(), string(kv.Key))
					locktest.Must(t, err)
				}
				for i := range 100 {
					foreign(t, b, many.Key(i*n/100))
					foreign(t, b, many.Key(n+i))
				}
			}
			if found[q.Key]++; len(q.Holders) != 1 || q.Holders[0].Name != "a" || len(q.Waiters) > 0 {
				t.Fatalf("got %+v", q)
			}
		}
		for k, times := range found {
			if times != 1 || len(found) != n {
				t.Fatalf("%d locks; %v is listed %d times", len(found), k, times)
			}
		}
		if all, err := collect(a.List(t.Context(), "")); len(all) != 200 || err != nil {
			t.Errorf("afterwards: %d locks, %v", len(all), err)
		}
	})
}

func TestAListThatIsCompactedSaysSo(t *testing.T) {
	locktest.Virtual(t, func(t *testing.T) {
		a := lockertest.New(t)
		holdMany(t, a, 2500)
		client, n := lockertest.Client(a), 0
		var err error
		for _, e := range a.List(t.Context(), "many") {
			if e != nil {
				err = e
				continue
			}
			if n++; n == 1 {
				resp, err := client.Put(t.Context(), "/other", "")
				locktest.Must(t, err)
				_, err = client.Compact(t.Context(), resp.Header.Revision)
				locktest.Must(t, err)
			}
		}
		locktest.WantErr(t, err, locker.ErrCompacted, rpctypes.ErrCompacted)
		if e, ok := errors.AsType[*locker.Error](err); !ok || e.Op != "list" || e.Key != "many" || n == 0 || n >= 2000 {
			t.Errorf("%d locks, then %#v", n, err)
		}
		if all, err := collect(a.List(t.Context(), "many")); len(all) != 2500 || err != nil {
			t.Errorf("anew: %d locks, %v", len(all), err)
		}
	})
}

func TestAListThatIsLeftReadsNoMore(t *testing.T) {
	t.Parallel()
	client, n := counted(t)
	s := etcdtest.Start(t)
	prefix := s.Prefix(t)
	l := newLocker(t, client, locker.WithPrefix(prefix))
	putHeld(t, s.Root(t), prefix, "a", 2500)
	n.calls.Store(0)
	list := l.List(t.Context(), "")
	wantNothingSent(t, n)
	for q, err := range list {
		if err != nil || len(q.Holders) != 1 {
			t.Errorf("%+v, %v", q, err)
		}
		break
	}
	if sent := n.calls.Load(); sent < 2 || sent > 30 { // a page
		t.Errorf("%d calls", sent)
	}
	if all, err := collect(list); len(all) != 2500 || err != nil {
		t.Errorf("the list again: %d locks, %v", len(all), err)
	}
}

func TestAListEndsWithItsContextAndWithItsLocker(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(l *locker.Locker, cancel func())
		want error
	}{
		"canceled": {func(_ *locker.Locker, cancel func()) { cancel() }, context.Canceled},
		"closed":   {func(l *locker.Locker, _ func()) { l.Close() }, locker.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			locktest.Virtual(t, func(t *testing.T) {
				a, b := lockertest.NewPair(t)
				holdMany(t, b, 4500)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				n := 0
				var err error
				for _, e := range a.List(ctx, "") {
					if err = e; e == nil {
						if n++; n == 1 {
							c.end(a, cancel)
						}
					}
				}
				locktest.WantErr(t, err, c.want)
				if _, ok := errors.AsType[*locker.Error](err); !ok || n >= 2000 {
					t.Errorf("%d locks, then %#v", n, err)
				}
				if name == "canceled" && n != 1 {
					t.Errorf("%d locks after its context", n)
				}
			})
		})
	}
}

func TestABadListIsRefused(t *testing.T) {
	t.Parallel()
	client, n := counted(t)
	l := newLocker(t, client, locker.WithPrefix(etcdtest.Start(t).Prefix(t)))
	for _, under := range []string{"/", "a/", "/a", "a//b", "a\x00", "\xff", strings.Repeat("a", 1025)} {
		err := listError(l.List(t.Context(), under))
		locktest.WantErr(t, err, keyspace.ErrInvalid)
		if e, ok := errors.AsType[*locker.Error](err); !ok || e.Op != "list" || e.Key != under {
			t.Errorf("%q: %#v", under, err)
		}
	}
	for _, o := range []locker.ListOption{nil, locker.ListOwner(""), locker.ListAge(-1)} {
		locktest.WantErr(t, listError(l.List(t.Context(), "", o, locker.ListOwner("a"), locker.ListAge(1))), locker.ErrInvalidOption)
	}
	locktest.WantErr(t, listError(l.List(canceled(), "")), context.Canceled)
	wantNothingSent(t, n)
	wantList(t, l.List(t.Context(), strings.Repeat("a", 1024)))
}

// It works as well for mutexes of etcd's own package, and for names of several segments.
func TestAMutexIsListed(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := s.Prefix(t)
	l := newLocker(t, s.Client(t), locker.WithPrefix(prefix), locker.WithOwner("l"))
	session, err := concurrency.NewSession(s.Client(t))
	locktest.Must(t, err)
	defer session.Close()
	mutex := concurrency.NewMutex(session, "/"+prefix+"/job")
	locktest.Must(t, mutex.Lock(t.Context()))
	waits := queueFor(t, l, keyspace.MustParse("job"))
	locktest.Acquire(t, l, key)
	wantList(t, l.List(t.Context(), ""), "job: foreign < l", "space/key: l")
	wantList(t, l.List(t.Context(), "space"), "space/key: l")
	locktest.Must(t, mutex.Unlock(t.Context()))
	locktest.Must(t, waits())
}
