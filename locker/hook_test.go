package locker_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// diary writes down what its hook hears, and checks that each End gets the
// context of its Start.
type diary struct {
	t     testing.TB
	name  string
	notes map[string]string
	all   *log // shared by the hooks of one Locker
}

type log struct {
	mu    sync.Mutex
	lines []string
	open  map[any]int
}

func (l *log) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *log) read() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

type diaryKey struct{ name, span string }

func (d *diary) start(ctx context.Context, span string) context.Context {
	id := new(int)
	d.all.mu.Lock()
	defer d.all.mu.Unlock()
	if d.all.open == nil {
		d.all.open = make(map[any]int)
	}
	d.all.open[id]++
	return context.WithValue(ctx, diaryKey{d.name, span}, id)
}

func (d *diary) end(ctx context.Context, span string) {
	id := ctx.Value(diaryKey{d.name, span})
	d.all.mu.Lock()
	defer d.all.mu.Unlock()
	if d.all.open[id]--; d.all.open[id] != 0 {
		d.t.Errorf("%s: an End of %s without its Start, or a second one", d.name, span)
	}
	delete(d.all.open, id)
}

func (d *diary) AcquireStart(ctx context.Context, a locker.AcquireStartData) (context.Context, map[string]string) {
	d.all.add("%s acquire start %v try=%v ttl=%v", d.name, a.Key, a.Try, a.TTL)
	return d.start(ctx, "acquire"), d.notes
}

func (d *diary) AcquireEnd(ctx context.Context, a locker.AcquireEndData) {
	d.end(ctx, "acquire")
	d.all.add("%s acquire end token=%v err=%v", d.name, a.Token != 0, a.Err)
}

func (d *diary) Blocked(ctx context.Context, b locker.BlockedData) {
	if ctx.Value(diaryKey{d.name, "acquire"}) == nil {
		d.t.Error("Blocked without the context of AcquireStart")
	}
	d.all.add("%s blocked by=%s notes=%v local=%v ahead=%d", d.name, b.By.Name, b.By.Annotations, b.Local, b.Ahead)
}

func (d *diary) HoldStart(ctx context.Context, h locker.HoldStartData) context.Context {
	if ctx.Value(diaryKey{d.name, "acquire"}) == nil {
		d.t.Error("HoldStart without the context of AcquireStart")
	}
	d.all.add("%s hold start", d.name)
	return d.start(ctx, "hold")
}

func (d *diary) HoldRisk(ctx context.Context, h locker.HoldRiskData) {
	if ctx.Value(diaryKey{d.name, "hold"}) == nil {
		d.t.Error("HoldRisk without the context of HoldStart")
	}
	d.all.add("%s hold at risk=%v", d.name, h.AtRisk)
}

func (d *diary) HoldEnd(ctx context.Context, h locker.HoldEndData) {
	d.end(ctx, "hold")
	d.all.add("%s hold end: %v", d.name, h.Cause)
}

func (d *diary) TimeoutStart(ctx context.Context, h locker.TimeoutStartData) context.Context {
	if ctx.Value(diaryKey{d.name, "hold"}) == nil {
		d.t.Error("TimeoutStart without the context of HoldStart")
	}
	d.all.add("%s timeout start limit=%v over=%v", d.name, h.Limit, h.Held > h.Limit)
	return d.start(ctx, "timeout")
}

func (d *diary) TimeoutEnd(ctx context.Context, h locker.TimeoutEndData) {
	d.end(ctx, "timeout")
	d.all.add("%s timeout end err=%v", d.name, h.Err)
}

func newDiaries(t testing.TB, names ...string) (*log, locker.Option) {
	all := &log{}
	var hooks []locker.Hook
	for _, n := range names {
		hooks = append(hooks, &diary{t: t, name: n, notes: map[string]string{"note of " + n: "hello"}, all: all})
	}
	t.Cleanup(func() {
		all.mu.Lock()
		defer all.mu.Unlock()
		if len(all.open) != 0 {
			t.Errorf("%d Starts without an End", len(all.open))
		}
	})
	return all, locker.WithHook(hooks...)
}

func wantLines(t *testing.T, all *log, want ...string) {
	t.Helper()
	locktest.Until(t, "all is written", func() bool { return len(all.read()) >= len(want) })
	if got := all.read(); !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestHooksStartInOrderAndEndInReverse(t *testing.T) {
	t.Parallel()
	all, hooks := newDiaries(t, "1", "2")
	_, _, client, prefix := newPair(t)
	l := newLocker(t, client, locker.WithPrefix(prefix), hooks)
	h := locktest.Acquire(t, l, key)
	for _, name := range []string{"1", "2"} {
		if h.Context().Value(diaryKey{name, "hold"}) == nil {
			t.Errorf("the hold's context lacks what hook %s added", name)
		}
	}
	locktest.Release(t, h)
	wantLines(t, all,
		"1 acquire start space/key try=false ttl=15s",
		"2 acquire start space/key try=false ttl=15s",
		"2 acquire end token=true err=<nil>",
		"1 acquire end token=true err=<nil>",
		"1 hold start",
		"2 hold start",
		"2 hold end: locker: lock released",
		"1 hold end: locker: lock released",
	)
}

func TestABlockedAcquireHearsWhoIsAheadAndWhatTheirHooksTell(t *testing.T) {
	t.Parallel()
	_, _, client, prefix := newPair(t)
	_, holds := newDiaries(t, "x", "y")
	holder := newLocker(t, client, locker.WithPrefix(prefix), holds, locker.WithOwner("holder"))
	all, hooks := newDiaries(t, "w")
	waiter := newLocker(t, client, locker.WithPrefix(prefix), hooks, locker.WithOwner("waiter"))
	held := locktest.Acquire(t, holder, key)

	_, err := waiter.TryAcquire(t.Context(), key)
	locktest.WantErr(t, err, locker.ErrLocked)
	first := locktest.Async(t, func() *locker.Hold { return locktest.Acquire(t, waiter, key) })
	locktest.UntilQueued(t, waiter, key, 2)
	locktest.Until(t, "it is blocked", func() bool { return len(all.read()) == 5 })
	second := locktest.Async(t, func() *locker.Hold { return locktest.Acquire(t, waiter, key) })
	locktest.Until(t, "it is blocked", func() bool { return len(all.read()) == 7 })

	q, err := waiter.Inspect(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if q.Holders[0].Name != "holder" || q.Waiters[0].Name != "waiter" ||
		!maps.Equal(q.Holders[0].Annotations, map[string]string{"note of x": "hello", "note of y": "hello"}) {
		t.Errorf("got %+v", q)
	}
	if since := time.Since(q.Holders[0].Since); since < 0 || since > locktest.Wait {
		t.Errorf("since %v ago", since)
	}

	locktest.Release(t, held)
	locktest.Release(t, first())
	locktest.Release(t, second())
	holderNotes := "map[note of x:hello note of y:hello]"
	wantLines(t, all,
		"w acquire start space/key try=true ttl=15s",
		"w blocked by=holder notes="+holderNotes+" local=false ahead=1",
		"w acquire end token=false err=locker: lock is held",
		"w acquire start space/key try=false ttl=15s",
		"w blocked by=holder notes="+holderNotes+" local=false ahead=1",
		"w acquire start space/key try=false ttl=15s",
		"w blocked by=waiter notes=map[note of w:hello] local=true ahead=1",
		"w acquire end token=true err=<nil>",
		"w hold start",
		"w hold end: locker: lock released",
		"w acquire end token=true err=<nil>",
		"w hold start",
		"w hold end: locker: lock released",
	)
}

func TestATimeoutIsHeardAfterTheHoldEnded(t *testing.T) {
	t.Parallel()
	all, hooks := newDiaries(t, "h")
	_, _, client, prefix := newPair(t)
	l := newLocker(t, client, locker.WithPrefix(prefix), hooks, locker.WithMonitorTicks(5*time.Millisecond))
	h := locktest.Acquire(t, l, key, locker.MaxHeld(time.Millisecond))
	locktest.Receive(t, h.Context().Done())
	wantLines(t, all,
		"h acquire start space/key try=false ttl=15s",
		"h acquire end token=true err=<nil>",
		"h hold start",
		"h hold end: locker: lock held longer than allowed",
		"h timeout start limit=1ms over=true",
		"h timeout end err=<nil>",
	)
}

func TestEveryEndOfAHoldReachesTheHookOnce(t *testing.T) {
	t.Parallel()
	_, _, client, prefix := newPair(t)
	_, hooks := newDiaries(t, "h") // checks itself when the test ends
	l := newLocker(t, client, locker.WithPrefix(prefix), hooks)
	space := keyspace.MustNew[string]("end")
	ctx := t.Context()

	locktest.Release(t, locktest.Acquire(t, l, space.Key("released")))
	evicted := locktest.Acquire(t, l, space.Key("evicted"))
	if _, err := l.Evict(ctx, space.Key("evicted")); err != nil {
		t.Fatal(err)
	}
	locktest.WantLost(t, evicted.Release(ctx), locker.ReasonEvicted)
	if _, err := l.Acquire(canceled(), key); err == nil {
		t.Error("acquired under a dead context")
	}
	func() {
		defer func() { _ = recover() }()
		_ = l.RunInLock(ctx, space.Key("panic"), func(context.Context, *locker.Hold) error { panic("stop") })
	}()
	closed := locktest.Acquire(t, l, space.Key("closed"))
	waits := locktest.Async(t, func() error { _, err := l.Acquire(ctx, space.Key("closed")); return err })
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	locktest.WantErr(t, waits(), locker.ErrClosed)
	locktest.WantErr(t, context.Cause(closed.Context()), locker.ErrClosed)
}
