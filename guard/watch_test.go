package guard_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// A yielded is what a watch yields at once.
type yielded struct {
	guard.Version[int]
	err error
}

// absent stands for what is not stored, where a test names the value of a Version.
const absent = -1

// watch returns what g's watch yields. The channel is closed when it ends, and
// the test waits for that.
func watch(t *testing.T, ctx context.Context, g *guard.Guard[int]) <-chan yielded {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	all, ended := make(chan yielded, 1000), make(chan struct{})
	go func() {
		defer close(ended)
		defer close(all)
		for v, err := range g.Watch(ctx) {
			all <- yielded{v, err}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return all
}

// wantYields fails the test unless the watch goes on with these values, some
// of which may be absent.
func wantYields(t *testing.T, watch <-chan yielded, values ...int) {
	t.Helper()
	for _, want := range values {
		y := receive(t, watch)
		wantVersion(t, y.Version, y.err, want)
	}
}

// wantVersion fails the test unless v is want, which may be absent.
func wantVersion(tb testing.TB, v guard.Version[int], err error, want int) {
	tb.Helper()
	if err != nil || v.Stored() != (want != absent) || v.Stored() && v.Value != want || !v.Stored() && v != (guard.Version[int]{}) {
		tb.Fatalf("got %+v, %v; want %d (%d: absent) and no error", v, err, want, absent)
	}
}

func wantEnd(t *testing.T, watch <-chan yielded) {
	t.Helper()
	if y := receive(t, watch); y != (yielded{}) {
		t.Fatalf("the watch yields %v, want its end", y)
	}
}

func TestAWatchYieldsTheValueAndThenEveryCommitInOrder(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.put(t, "1")
	s.put(t, "2")
	g := counter(s.locker(t))
	for range 2 { // the same Seq again, so to speak
		w := watch(t, t.Context(), g)
		wantYields(t, w, 2)
		for n := 3; n < 100; n++ {
			s.put(t, strconv.Itoa(n))
		}
		s.put(t, "2")
		s.put(t, "2") // a commit, too
		for n := 3; n < 100; n++ {
			wantYields(t, w, n)
		}
		wantYields(t, w, 2, 2)
	}
}

func TestAWatchShowsWhatIsAbsentOrDeletedAsZero(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	w := watch(t, t.Context(), counter(s.locker(t)))
	wantYields(t, w, absent)
	s.put(t, "7")
	s.delete(t)
	s.put(t, "8")
	wantYields(t, w, 7, absent, 8)
}

func TestAWatchGoesOnAfterAValueThatDoesNotDecode(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.put(t, "one")
	w := watch(t, t.Context(), counter(s.locker(t)))
	want := func() {
		t.Helper()
		y := receive(t, w)
		wantErr(t, y.err, guard.ErrDecode)
		wantOp(t, y.err, "watch")
		if y.Value != 0 || !y.Stored() {
			t.Errorf("got %+v, want a zero T that is stored", y.Version)
		}
	}
	want()
	s.put(t, "two")
	want()
	s.put(t, "3")
	wantYields(t, w, 3)
}

func TestAWatchSeesNeitherTheLockNorOtherValues(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := s.locker(t)
	s.put(t, "1")
	w := watch(t, t.Context(), counter(l))
	wantYields(t, w, 1)
	occupy(t, l)()
	for _, other := range []string{s.name() + "/x", s.name() + "x", s.name()[:len(s.name())-1]} {
		if _, err := s.client.Put(t.Context(), other, "9"); err != nil {
			t.Fatal(err)
		}
	}
	s.put(t, "2")
	wantYields(t, w, 2)
}

func TestAWatchEndsWithItsLoop(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	g := counter(s.locker(t))
	s.put(t, "1")
	for v, err := range g.Watch(t.Context()) {
		wantVersion(t, v, err, 1)
		break
	}
	for v, err := range g.Watch(t.Context()) {
		if v.Value == 2 {
			break
		}
		wantVersion(t, v, err, 1)
		s.put(t, "2")
	}
	func() {
		defer func() { _ = recover() }()
		for range g.Watch(t.Context()) {
			panic("in the loop")
		}
	}() // what is left of a watch shows at the end of the tests
}

func TestAWatchEndsWithItsContextWithoutAWord(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	w := watch(t, ctx, counter(s.locker(t)))
	wantYields(t, w, absent)
	cancel()
	wantEnd(t, w)
	wantEnd(t, watch(t, ctx, counter(s.locker(t))))
}

func TestAWatchEndsWithItsLocker(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := s.locker(t)
	w := watch(t, t.Context(), counter(l))
	wantYields(t, w, absent)
	wantErr(t, l.Close(), nil)
	y := receive(t, w)
	wantErr(t, y.err, locker.ErrClosed)
	wantOp(t, y.err, "watch")
	wantEnd(t, w)
}

func TestAWatchThatEtcdRefusesEndsWithItsError(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	client := s.Client(t)
	client.KV = deadKV{client.KV, rpctypes.ErrPermissionDenied}
	w := watch(t, t.Context(), counter(s.lockerOn(t, client)))
	y := receive(t, w)
	wantErr(t, y.err, rpctypes.ErrPermissionDenied)
	wantOp(t, y.err, "watch")
	wantEnd(t, w)
}

func TestAWatchMissesNothingWhenItsConnectionBreaksOrEtcdRestarts(t *testing.T) {
	t.Parallel()
	m := etcdtest.StartOwn(t)
	proxy := etcdtest.Proxy(t, m.Endpoint())
	s := store{m.Server, m.Client(t), m.Prefix(t)}
	s.put(t, "1")
	w := watch(t, t.Context(), counter(s.lockerOn(t, proxy.Client(t))))
	wantYields(t, w, 1)
	for n := 2; n < 8; n += 3 {
		s.put(t, strconv.Itoa(n))
		proxy.Cut(t)
		s.delete(t)
		s.put(t, strconv.Itoa(n+1))
		s.put(t, strconv.Itoa(n+2))
		s.delete(t)
		if n > 2 {
			m.Restart(t)
		}
		proxy.Heal(t)
		wantYields(t, w, n, absent, n+1, n+2, absent)
	}
}

func TestAWatchGoesOnWithTheCurrentValueAfterACompaction(t *testing.T) {
	t.Parallel()
	m := etcdtest.StartOwn(t)
	proxy := etcdtest.Proxy(t, m.Endpoint())
	s := store{m.Server, m.Client(t), m.Prefix(t)}
	s.put(t, "1")
	w := watch(t, t.Context(), counter(s.lockerOn(t, proxy.Client(t))))
	wantYields(t, w, 1)
	compact := func(rev int64) {
		t.Helper()
		if _, err := m.Root(t).Compact(t.Context(), rev); err != nil {
			t.Fatal(err)
		}
	}
	for n := 2; n < 6; n += 3 {
		proxy.Cut(t)
		s.put(t, strconv.Itoa(n))
		s.put(t, strconv.Itoa(n+1))
		compact(s.put(t, strconv.Itoa(n+2)))
		proxy.Heal(t)
		wantYields(t, w, n+2)
	}
	proxy.Cut(t)
	s.delete(t)
	s.put(t, "8")
	s.delete(t)
	compact(s.put(t, "9"))
	s.delete(t)
	proxy.Heal(t)
	wantYields(t, w, absent)
	s.put(t, "10")
	wantYields(t, w, 10)
	proxy.Cut(t)
	s.delete(t)
	resp, err := s.client.Put(t.Context(), s.name()+"/other", "")
	wantErr(t, err, nil)
	compact(resp.Header.Revision) // also the deletion
	proxy.Heal(t)
	wantYields(t, w, absent)
	s.put(t, "11")
	wantYields(t, w, 11) // and nothing twice
}

// A deafWatcher goes silent when it is told to, as a connection that is dead
// without an error.
type deafWatcher struct {
	clientv3.Watcher
	deaf *atomic.Bool
}

func (w deafWatcher) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	in, out := w.Watcher.Watch(ctx, key, opts...), make(chan clientv3.WatchResponse)
	go func() {
		defer close(out)
		deaf := false
		for resp := range in {
			deaf = deaf || w.deaf.Load()
			if deaf {
				continue
			}
			select {
			case out <- resp:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

func TestAWatchThatWentSilentIsReplacedAndMissesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := lockertest.Client(lockertest.New(t))
		var deaf atomic.Bool
		own := clientv3.NewCtxClient(client.Ctx())
		own.KV, own.Lease, own.Watcher = client.KV, client.Lease, deafWatcher{client.Watcher, &deaf}
		l := newLocker(t, own, locker.WithPrefix("p"))
		s := store{client: client, prefix: "p"}
		w := watch(t, t.Context(), counter(l))
		wantYields(t, w, absent)
		for n := 1; n < 10; n += 3 {
			time.Sleep(3 * time.Second) // the stream has been asked for a sign of life
			deaf.Store(true)
			s.put(t, strconv.Itoa(n))
			s.delete(t)
			s.put(t, strconv.Itoa(n+1))
			synctest.Wait()
			deaf.Store(false)
			began := time.Now()
			wantYields(t, w, n, absent, n+1)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			s.put(t, strconv.Itoa(n+2))
			wantYields(t, w, n+2)
		}
	})
}

// A hungWatcher never closes the channel of a watch.
type hungWatcher struct{ clientv3.Watcher }

func (w hungWatcher) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	in, out := w.Watcher.Watch(ctx, key, opts...), make(chan clientv3.WatchResponse)
	go func() {
		for resp := range in {
			select {
			case out <- resp:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

func TestAWatchEndsThoughTheClientHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := lockertest.Client(lockertest.New(t))
		own := clientv3.NewCtxClient(client.Ctx())
		own.KV, own.Lease, own.Watcher = client.KV, client.Lease, hungWatcher{client.Watcher}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		began := time.Now()
		time.AfterFunc(10*time.Millisecond, cancel)
		for _, err := range counter(newLocker(t, own, locker.WithPrefix("p"))).Watch(ctx) {
			wantErr(t, err, nil)
		}
		if took := time.Since(began); took > 20*time.Millisecond {
			t.Errorf("it ends %v after its context", took-10*time.Millisecond)
		}
	})
}

// A notedWatcher notes what watches are asked for.
type notedWatcher struct {
	clientv3.Watcher
	revs *[]int64
}

func (w notedWatcher) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	*w.revs = append(*w.revs, clientv3.OpGet(key, opts...).Rev())
	return w.Watcher.Watch(ctx, key, opts...)
}

// etcd serves a watch with a start revision that is not in the future from a
// slow group, every 100ms.
func TestAWatchStartsInTheFastGroup(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	client := s.Client(t)
	var revs []int64
	client.Watcher = notedWatcher{client.Watcher, &revs}
	s.put(t, "1")
	w := watch(t, t.Context(), counter(s.lockerOn(t, client)))
	wantYields(t, w, 1)
	if len(revs) != 1 || revs[0] != 0 {
		t.Errorf("it watches from revisions %d, want from now on", revs)
	}
}

func TestAWatchWaitsForEtcdToComeBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		s := store{client: lockertest.Client(b), prefix: a.Prefix()}
		s.put(t, "1")
		lockertest.Disconnect(a)
		w := watch(t, t.Context(), counter(a))
		time.Sleep(time.Hour)
		s.put(t, "2")
		lockertest.Reconnect(a)
		wantYields(t, w, 2)
		lockertest.Disconnect(a)
		s.put(t, "3")
		time.Sleep(time.Hour)
		s.put(t, "4")
		lockertest.Reconnect(a)
		wantYields(t, w, 3, 4)
	})
}
