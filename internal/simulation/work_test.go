package simulation_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock"
	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

const maxHeld = 20 * time.Second

// A process is a client, and a Locker that is sometimes closed and made anew.
type process struct {
	*simtest.Process
	w *world

	restarting atomic.Bool

	mu sync.RWMutex
	e  *elock.ELocker
}

func (w *world) newProcess(name string) *process {
	p := &process{Process: w.NewProcess(name), w: w}
	if len(w.procs)%2 == 1 { // otherwise each watch is one of the client's
		p.Client.OfferWatchStreams()
	}
	p.start(w.Dice)
	return p
}

func (p *process) start(d simtest.Dice) {
	opts := p.Options(d)
	if p.w.Profile != simtest.Lossy { // where an entry that nobody holds is one left behind
		opts = append(opts, simtest.Retain(d))
	}
	opts = append(opts, p.Background(p.releaseFailed)...)
	opts = append(opts, locker.WithHook(&witness{p.w, p.Name, make(map[keyspace.Key]int), make(map[keyspace.Key]int)}, p.newTrouble()))
	e := elock.NewELocker(p.Client.Client,
		elock.WithLockerOptions(opts...),
		elock.WithMaxHeldTime(maxHeld),
		elock.WithMonitorTicks(time.Second),
		elock.WithRandomSleep(time.Millisecond, time.Millisecond),
		elock.WithTimeoutCallback(func(string, time.Duration) {}),
	)
	if err := e.Locker().Context().Err(); err != nil {
		panic(context.Cause(e.Locker().Context()))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.e = e
}

// releaseFailed is told of a release in the background that has failed.
func (p *process) releaseFailed(key keyspace.Key, err error) {
	p.w.Logf("%s: a release of %v in the background: %v", p.Name, key, err)
	worker{process: p}.judge(err)
	p.w.Mu.Lock()
	defer p.w.Mu.Unlock()
	p.w.stats.late++
}

// stop closes the Locker for good.
func (p *process) stop() {
	if err := p.locker().Close(); err != nil {
		p.w.Failf("%s: close after all faults: %v", p.Name, err)
	}
}

func (p *process) locker() *locker.Locker { return p.classic().Locker() }

func (p *process) classic() *elock.ELocker {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.e
}

// A worker is a goroutine of a process.
type worker struct {
	*process
	simtest.Dice
}

// restart closes the Locker, in one way or the other, and makes another.
func (p worker) restart() {
	if !p.restarting.CompareAndSwap(false, true) {
		return
	}
	defer p.restarting.Store(false)
	l := p.locker()
	if p.Chance(0.5) {
		ctx, cancel := context.WithTimeout(context.Background(), p.Span(0, 30*time.Second))
		defer cancel()
		err := l.Shutdown(ctx)
		p.w.Logf("%s: shutdown: %v", p.Name, err)
	}
	err := l.Close()
	p.w.Logf("%s: close: %v", p.Name, err)
	if err != nil && p.w.Profile == simtest.Calm {
		p.w.Failf("%s: close without a fault: %v", p.Name, err)
	}
	p.start(p.Dice)
}

// work does random things until the end of the run.
func (p worker) work() {
	w := p.w
	for time.Now().Before(w.End) {
		time.Sleep(p.Span(0, 2*time.Second))
		k := w.keys[p.IntN(len(w.keys))]
		ctx, cancel := context.WithTimeout(context.Background(), p.Span(time.Millisecond, time.Minute))
		if err := p.act(ctx, k); err != nil {
			p.judge(err)
			p.overheard(k, err)
		}
		cancel()
	}
}

// judge checks that an error is one that may be.
func (p worker) judge(err error) {
	var typed *locker.Error
	if !errors.As(err, &typed) {
		p.w.Failf("%s: %T is not an *Error: %v", p.Name, err, err)
	}
	if p.w.Profile != simtest.Calm || p.w.prod[steadfast] && errors.Is(err, locker.ErrOutcomeUnknown) {
		return
	}
	for _, ok := range []error{locker.ErrLocked, locker.ErrMaxHeld, locker.ErrClosed, locker.ErrNotHeld, context.Canceled,
		context.DeadlineExceeded} {
		if errors.Is(err, ok) {
			return
		}
	}
	var loss *locker.LostError
	if !errors.As(err, &loss) {
		p.w.Failf("%s: without a fault: %v", p.Name, err)
		return
	}
	p.w.Mu.Lock()
	defer p.w.Mu.Unlock()
	p.w.lost(p.Name, keyspace.MustParse(typed.Key), loss)
}

type acquire func(context.Context, keyspace.Key, ...locker.AcquireOption) (*locker.Hold, error)

func (p worker) act(ctx context.Context, k keyspace.Key) error {
	w, e := p.w, p.classic()
	l := e.Locker()
	var opts []locker.AcquireOption
	if w.Profile != simtest.Lossy { // there, one lease in constant use keeps what is left behind under it
		opts = append(opts, locker.TTL(p.Span(simtest.MinTTL, simtest.MaxTTL)))
	}
	if p.Chance(map[bool]float64{false: 0.1, true: 0.8}[w.loves]) {
		return p.takeSlots(ctx, l, k, opts)
	}
	switch n := p.IntN(100); {
	case n < 2:
		h, err := l.AcquireAll(ctx, w.keys, p.slots()...)
		if err == nil {
			w.believe(h)
			time.Sleep(p.Span(0, 3*time.Second))
			err = p.release(p.releasing(), h)
		}
		if errors.Is(err, rpctypes.ErrPermissionDenied) { // for any of the keys
			return nil
		}
		return err
	case n < 7:
		h, err := l.AcquireAll(ctx, w.keys)
		if err == nil {
			p.hold(h, w.keys[0])
			err = p.release(p.releasing(), h)
		}
		if errors.Is(err, rpctypes.ErrPermissionDenied) { // for any of the keys
			return nil
		}
		return err
	case n < 15:
		acquire := []acquire{l.Acquire, l.TryAcquire}[p.IntN(2)]
		h, err := acquire(ctx, k, append(opts, locker.Shared())...)
		p.inTime(ctx, err)
		if err != nil {
			return err
		}
		p.read(h, k)
		return p.release(p.releasing(), h)
	case n < 22:
		return p.commit(ctx, l, k)
	case n < 26:
		return p.stay(ctx, l, k, opts)
	case n < 35:
		h, err := l.Acquire(ctx, k, opts...)
		p.inTime(ctx, err)
		if err != nil {
			return err
		}
		p.hold(h, k)
		return p.release(p.releasing(), h)
	case n < 45:
		h, err := l.TryAcquire(ctx, k)
		p.inTime(ctx, err)
		if err != nil {
			return err
		}
		p.hold(h, k)
		return p.release(p.releasing(), h)
	case n < 60:
		return l.RunInLock(ctx, k, func(_ context.Context, h *locker.Hold) error { p.hold(h, k); return nil })
	case n < 68:
		_, err := guard.New[int](l, k).Run(ctx, func(ctx context.Context, h *locker.Hold) (int, error) {
			p.hold(h, k)
			return 0, nil
		})
		return err
	case n < 76:
		if err := e.Lock(ctx, k.String(), 2+p.IntN(8)); err != nil {
			return err
		}
		time.Sleep(p.Span(0, 5*time.Second))
		return e.Unlock(ctx, k.String())
	case n < 82:
		_, err := e.RunFuncInLock(ctx, k.String(), 2+p.IntN(8), func() { time.Sleep(p.Span(0, 5*time.Second)) })
		return err
	case n < 88: // a change of mind
		ctx, cancel := context.WithTimeout(ctx, p.Span(0, 3*time.Second))
		defer cancel()
		h, err := l.Acquire(ctx, k)
		p.inTime(ctx, err)
		if err != nil {
			return err
		}
		w.believe(h)
		return p.release(ctx, h)
	case n < 91:
		_, err := l.RequestRelease(ctx, k, "simulated")
		return err
	case n < 94:
		_, err := l.Inspect(ctx, k)
		return err
	case n < 98:
		w.evicts(k)
		_, err := l.Evict(ctx, k)
		w.evicts(k)
		return err
	default:
		p.restart()
		return nil
	}
}

// inTime checks that an acquire under ctx ended with err before ctx, or soon after with an error.
func (p worker) inTime(ctx context.Context, err error) {
	deadline, _ := ctx.Deadline()
	switch late := time.Since(deadline); {
	case err == nil && late > p.w.lateness():
		p.w.Failf("%s: granted %v after the end of ctx", p.Name, late)
	case late > time.Second+p.w.lateness():
		p.w.Failf("%s: failed %v after the end of ctx: %v", p.Name, late, err)
	}
}

// releasing is the context of a release: alive, or done already.
func (p worker) releasing() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	if p.Chance(0.3) {
		cancel()
	} else {
		time.AfterFunc(time.Minute, cancel)
	}
	return ctx
}

// release releases h, and sometimes once more if that is not confirmed. If this is nil, the lock must be free: the entry is
// gone, unless the lease may have ended or the Locker was closed.
func (p worker) release(ctx context.Context, h anyHold) error {
	w, began, left := p.w, time.Now(), h.Remaining()
	l := p.locker()
	err := h.Release(ctx)
	if err == nil || p.Chance(0.5) || h.Release(p.releasing()) != nil || len(tokensOf(h)) > 1 { // of several, some may be kept
		return err
	}
	w.Mu.Lock()
	defer w.Mu.Unlock()
	for k, token := range tokensOf(h) {
		e := entryOf(k, token)
		if w.place(e).gone.IsZero() && time.Since(began) < left && !p.restarting.Load() && p.locker() == l {
			w.Fail("%s: released %v, which is there", p.Name, e)
		}
	}
	return err
}

// anyHold is a *locker.Hold or a *locker.HoldSet.
type anyHold interface {
	Context() context.Context
	Err() error
	Remaining() time.Duration
	AtRisk() <-chan struct{}
	Requested() <-chan struct{}
	Release(ctx context.Context) error
}

// tokensOf returns the tokens of a hold, by key.
func tokensOf(h anyHold) map[keyspace.Key]locker.Token {
	if h, ok := h.(*locker.Hold); ok {
		return map[keyspace.Key]locker.Token{h.Key(): h.Token()}
	}
	return h.(*locker.HoldSet).Tokens()
}

func fencesOf(h anyHold) []clientv3.Cmp {
	if h, ok := h.(*locker.Hold); ok {
		return []clientv3.Cmp{h.Fence()}
	}
	return h.(*locker.HoldSet).Fences()
}
