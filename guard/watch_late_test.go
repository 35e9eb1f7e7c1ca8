package guard_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// A ward is a clientv3.Watcher whose watches fare as the test says.
type ward struct {
	clientv3.Watcher

	mu      sync.Mutex
	closed  bool            // watches are closed before they are in place
	mute    bool            // requests for progress are not answered
	cut     context.Context // ends the watches that are in place; their channels are closed
	end     context.CancelFunc
	streams map[string]bool
	asked   int
}

// warded returns a Locker and the store of a simulation, with w in the way of its watches.
func warded(t *testing.T, w *ward) (*locker.Locker, store) {
	client := lockertest.Client(lockertest.New(t))
	own := clientv3.NewCtxClient(client.Ctx())
	w.Watcher, w.streams = client.Watcher, make(map[string]bool)
	w.cut, w.end = context.WithCancel(t.Context())
	own.KV, own.Lease, own.Watcher = client.KV, client.Lease, w
	return newLocker(t, own, locker.WithPrefix("p")), store{client: client, prefix: "p"}
}

// set changes w.
func (w *ward) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// breaks closes the channels of all watches.
func (w *ward) breaks(t *testing.T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end()
	w.cut, w.end = context.WithCancel(t.Context())
}

func (w *ward) opened() (streams int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.streams)
}

func (w *ward) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	w.mu.Lock()
	closed, cut := w.closed, w.cut
	md, _ := metadata.FromOutgoingContext(ctx)
	w.streams[md.Get("elock-watch-stream")[0]] = true
	w.mu.Unlock()
	out := make(chan clientv3.WatchResponse)
	if closed {
		close(out)
		return out
	}
	in := w.Watcher.Watch(ctx, key, opts...)
	go func() {
		defer close(out)
		for {
			select {
			case resp, ok := <-in:
				if !ok {
					return
				}
				select {
				case out <- resp:
				case <-ctx.Done():
				case <-cut.Done():
				}
			case <-cut.Done():
				return
			}
		}
	}()
	return out
}

func (w *ward) RequestProgress(ctx context.Context) error {
	w.mu.Lock()
	w.asked++
	mute := w.mute
	w.mu.Unlock()
	if mute {
		return nil
	}
	return w.Watcher.RequestProgress(ctx)
}

func TestAWatchThatCannotBeginForSecondsMissesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var w ward
		l, s := warded(t, &w)
		y := watch(t, t.Context(), counter(l))
		wantYields(t, y, absent)
		n := 0
		for _, away := range []time.Duration{time.Second, 5 * time.Second, 25 * time.Second} {
			w.set(func() { w.closed = true })
			w.breaks(t)
			var want []int
			for range 5 {
				n++
				s.put(t, strconv.Itoa(n))
				s.delete(t)
				want = append(want, n, absent)
				time.Sleep(away / 5)
			}
			w.set(func() { w.closed = false })
			wantYields(t, y, want...)
		}
	})
}

func TestAWatchThatCannotBeginForVeryLongTellsTheCurrentValue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := ward{closed: true}
		l, s := warded(t, &w)
		s.put(t, "7")
		began := time.Now()
		y := watch(t, t.Context(), counter(l))
		wantYields(t, y, 7) // there is nothing before it that could be missed
		if took := time.Since(began); took > time.Second {
			t.Errorf("the first value came after %v", took)
		}
		s.put(t, "8")
		s.put(t, "9")
		time.Sleep(29 * time.Second)
		if len(y) > 0 {
			t.Error("the current value came at once")
		}
		wantYields(t, y, 9)
		s.put(t, "10")
		s.put(t, "11")
		w.set(func() { w.closed = false })
		wantYields(t, y, 10, 11)
	})
}

func TestAWatchThatIsClosedBeginsAnewOnItsStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var w ward
		l, s := warded(t, &w)
		y := watch(t, t.Context(), counter(l))
		wantYields(t, y, absent)
		for n := 1; n < 5; n++ {
			w.breaks(t)
			s.put(t, strconv.Itoa(n))
			wantYields(t, y, n)
		}
		if n := w.opened(); n != 1 {
			t.Errorf("%d streams, each with a login", n)
		}
	})
}

func TestASilentStreamIsReplacedWithinSecondsForAllItsWatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var w ward
		l, s := warded(t, &w)
		g := counter(l)
		a, b := watch(t, t.Context(), g), watch(t, t.Context(), g)
		wantYields(t, a, absent)
		wantYields(t, b, absent)
		time.Sleep(time.Minute)
		w.set(func() {
			if n := len(w.streams); n != 1 {
				t.Errorf("%d streams in a quiet minute", n)
			}
			if w.asked > 60 {
				t.Errorf("asked for progress %d times in a minute", w.asked)
			}
			w.mute = true
		})
		time.Sleep(6 * time.Second)
		if n := w.opened(); n != 2 {
			t.Errorf("%d streams after one was silent", n)
		}
		s.put(t, "1")
		wantYields(t, a, 1)
		wantYields(t, b, 1)
		// As behind a proxy that never answers.
		time.Sleep(time.Hour)
		if n := w.opened(); n > 2+3600/30+5 {
			t.Errorf("%d streams in an hour", n)
		}
	})
}

func TestAStreamBehindAProxyThatAnswersNoRequestsForProgressStays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := ward{mute: true}
		l, s := warded(t, &w)
		y := watch(t, t.Context(), counter(l))
		wantYields(t, y, absent)
		time.Sleep(time.Hour)
		s.put(t, "1")
		wantYields(t, y, 1)
		if n := w.opened(); n != 1 {
			t.Errorf("%d streams", n)
		}
	})
}

// A caller that is busy with a value for long does not take the stream for silent.
func TestACallerThatIsBusyForLongKeepsItsStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var w ward
		l, s := warded(t, &w)
		for v, err := range counter(l).Watch(t.Context()) {
			wantErr(t, err, nil)
			if v.Value == 10 {
				break
			}
			time.Sleep(time.Duration(v.Value) * 1700 * time.Millisecond)
			s.put(t, strconv.Itoa(v.Value+1))
		}
		if n := w.opened(); n != 1 {
			t.Errorf("%d streams", n)
		}
	})
}

func TestAWatchOnASilentMemberGoesOnWithinSeconds(t *testing.T) {
	t.Parallel()
	c := etcdtest.StartCluster(t, 3)
	s := store{c.Server, c.Client(t), c.Prefix(t)}
	proxy := etcdtest.Proxy(t, c.Members()[0].Endpoint())
	client := proxy.Client(t)
	w := watch(t, t.Context(), counter(s.lockerOn(t, client)))
	wantYields(t, w, absent)
	time.Sleep(3 * time.Second) // the stream has been asked for a sign of life
	client.SetEndpoints(proxy.Endpoint(), c.Members()[1].Endpoint(), c.Members()[2].Endpoint())
	proxy.BlackHole(t)
	began := time.Now()
	for n := 1; n < 4; n++ {
		s.put(t, strconv.Itoa(n))
	}
	wantYields(t, w, 1, 2, 3)
	took := time.Since(began)
	t.Logf("told after %v", took)
	if took > 10*time.Second {
		t.Errorf("told after %v", took)
	}
}
