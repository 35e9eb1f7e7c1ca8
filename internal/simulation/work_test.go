package simulation_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

const (
	maxTTL  = 12 * time.Second
	maxHeld = 20 * time.Second
)

// A process is a client, and a Locker that is sometimes closed and made anew.
type process struct {
	w      *world
	name   string
	client *etcdsim.Client

	restarting atomic.Bool

	mu sync.RWMutex
	l  *locker.Locker
}

func (w *world) newProcess(name string) *process {
	p := &process{w: w, name: name, client: w.sim.NewClient(name)}
	p.start(w.dice)
	return p
}

func (p *process) start(d dice) {
	opts := []locker.Option{
		locker.WithHandoff([]time.Duration{0, locker.DefaultHandoff, 100 * time.Millisecond}[d.IntN(3)]),
	}
	if p.w.profile != lossy { // where an entry that nobody holds is one left behind
		retain := []time.Duration{0, 0, 500 * time.Millisecond, 10 * time.Second}[d.IntN(4)]
		opts = append(opts, locker.WithRetain(retain))
	}
	if d.chance(0.3) {
		opts = append(opts, locker.WithoutBatching())
	}
	l, err := locker.New(p.client.Client, append(opts,
		locker.WithOwner(p.name),
		locker.WithHook(&witness{p.w, p.name, make(map[keyspace.Key]int)}),
		locker.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))),
		locker.WithTTL(d.ttl()),
		locker.WithMaxHeldTime(maxHeld),
		locker.WithMonitorTicks(time.Second),
		locker.WithRandomSleep(time.Millisecond, time.Millisecond),
		locker.WithTimeoutCallback(func(string, time.Duration) {}),
	)...)
	if err != nil {
		panic(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.l = l
}

// stop closes the Locker for good.
func (p *process) stop() {
	if err := p.locker().Close(); err != nil {
		p.w.failf("%s: close after all faults: %v", p.name, err)
	}
}

func (p *process) locker() *locker.Locker {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.l
}

// A worker is a goroutine of a process.
type worker struct {
	*process
	dice
}

func (d dice) ttl() time.Duration { return d.span(2*time.Second, maxTTL) }

// restart closes the Locker, in one way or the other, and makes another.
func (p worker) restart() {
	if !p.restarting.CompareAndSwap(false, true) {
		return
	}
	defer p.restarting.Store(false)
	l := p.locker()
	if p.chance(0.5) {
		ctx, cancel := context.WithTimeout(context.Background(), p.span(0, 30*time.Second))
		defer cancel()
		err := l.Shutdown(ctx)
		p.w.logf("%s: shutdown: %v", p.name, err)
	}
	err := l.Close()
	p.w.logf("%s: close: %v", p.name, err)
	if err != nil && p.w.profile == calm {
		p.w.failf("%s: close without a fault: %v", p.name, err)
	}
	p.start(p.dice)
}

// work does random things until the end of the run.
func (p worker) work() {
	w := p.w
	for time.Now().Before(w.end) {
		time.Sleep(p.span(0, 2*time.Second))
		k := w.keys[p.IntN(len(w.keys))]
		ctx, cancel := context.WithTimeout(context.Background(), p.span(time.Millisecond, time.Minute))
		if err := p.act(ctx, k); err != nil {
			p.judge(err)
		}
		cancel()
	}
}

// judge checks that an error is one that may be.
func (p worker) judge(err error) {
	var typed *locker.Error
	if !errors.As(err, &typed) {
		p.w.failf("%s: %T is not an *Error: %v", p.name, err, err)
	}
	if p.w.profile != calm {
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
		p.w.failf("%s: without a fault: %v", p.name, err)
		return
	}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.lost(p.name, keyspace.MustParse(typed.Key), loss)
}

func (p worker) act(ctx context.Context, k keyspace.Key) error {
	w, l := p.w, p.locker()
	var opts []locker.AcquireOption
	if w.profile != lossy { // there, one lease in constant use keeps what is left behind under it
		opts = append(opts, locker.TTL(p.ttl()))
	}
	switch n := p.IntN(100); {
	case n < 6:
		h, err := l.AcquireAll(ctx, w.keys...)
		if err != nil {
			return err
		}
		p.hold(h, h.Key())
		return p.release(p.releasing(), h)
	case n < 14:
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
		if err := l.Lock(ctx, k.String(), 2+p.IntN(8)); err != nil {
			return err
		}
		time.Sleep(p.span(0, 5*time.Second))
		return l.Unlock(ctx, k.String())
	case n < 82:
		_, err := l.RunFuncInLock(ctx, k.String(), 2+p.IntN(8), func() { time.Sleep(p.span(0, 5*time.Second)) })
		return err
	case n < 88: // a change of mind
		ctx, cancel := context.WithTimeout(ctx, p.span(0, 3*time.Second))
		defer cancel()
		h, err := l.Acquire(ctx, k)
		p.inTime(ctx, err)
		if err != nil {
			return err
		}
		w.believe(h)
		return p.release(ctx, h)
	case n < 94:
		_, err := l.Inspect(ctx, k)
		return err
	case n < 98:
		_, err := l.Evict(ctx, k)
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
	case err == nil && late > 0:
		p.w.failf("%s: granted %v after the end of ctx", p.name, late)
	case late > time.Second:
		p.w.failf("%s: failed %v after the end of ctx: %v", p.name, late, err)
	}
}

// releasing is the context of a release: alive, or done already.
func (p worker) releasing() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	if p.chance(0.3) {
		cancel()
	} else {
		time.AfterFunc(time.Minute, cancel)
	}
	return ctx
}

// release releases h, and sometimes once more if that is not confirmed. If this is nil, the lock must be free: the entry is
// gone, unless the lease may have ended or the Locker was closed.
func (p worker) release(ctx context.Context, h *locker.Hold) error {
	w, began, left := p.w, time.Now(), h.Remaining()
	l := p.locker()
	err := h.Release(ctx)
	if err == nil || p.chance(0.5) || h.Release(p.releasing()) != nil || len(h.Tokens()) > 1 { // of several, some may be kept
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	e := entryOf(h.Key(), h.Token())
	if w.place(e).gone.IsZero() && time.Since(began) < left && !p.restarting.Load() && p.locker() == l {
		w.fail("%s: released %v, which is there", p.name, e)
	}
	return err
}

// hold does what one does under a lock: some updates of a register, for a short or a very long time.
func (p worker) hold(h *locker.Hold, k keyspace.Key) {
	w := p.w
	w.believe(h)
	for range p.IntN(4) {
		if !p.update(h, k) {
			return
		}
		pause := p.span(0, 2*time.Second)
		if p.chance(0.05) {
			pause = maxHeld + 3*time.Second
		}
		select {
		case <-time.After(pause):
		case <-h.Context().Done():
			if p.chance(0.5) {
				p.update(h, k) // one more, though it knows better: the fence must stop it
			}
			return
		}
	}
}

type acquire func(context.Context, keyspace.Key, ...locker.AcquireOption) (*locker.Hold, error)

// read reads the register of k twice, each time under the fence of a shared hold: nobody may have written between.
func (p worker) read(h *locker.Hold, k keyspace.Key) {
	p.w.believe(h)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var reads []int64
	for range 2 {
		resp, err := p.client.Txn(ctx).If(h.Fence()).Then(clientv3.OpGet(register(k))).Commit()
		if err != nil || !resp.Succeeded {
			return
		}
		var mod int64
		for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
			mod = kv.ModRevision
		}
		reads = append(reads, mod)
		select {
		case <-time.After(p.span(0, 2*time.Second)):
		case <-h.Context().Done():
		}
	}
	if reads[0] != reads[1] {
		p.w.failf("%s: somebody wrote %s while %v was shared", p.name, register(k), entryOf(k, h.Token()))
	}
}

func value(k keyspace.Key) string { return k.ValuePath("elock") }

// commit adds one to the value of k in the transaction that releases it.
func (p worker) commit(ctx context.Context, l *locker.Locker, k keyspace.Key) error {
	w := p.w
	h, err := l.Acquire(ctx, k, locker.Reading(value(k)))
	p.inTime(ctx, err)
	if err != nil {
		return err
	}
	w.believe(h)
	n, mod := 0, int64(0)
	if kv := h.Read()[0]; kv != nil {
		n, mod = atoi(kv.Value), kv.ModRevision
	}
	time.Sleep(p.span(0, 3*time.Second))
	done, err := h.Commit(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(value(k)), "=", mod)}, clientv3.OpPut(value(k), strconv.Itoa(n+1)))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.updates++
	w.log("%s: commit of %v to %d under %v: %v, %v", p.name, k, n+1, entryOf(k, h.Token()), done, err)
	switch {
	case done:
		w.acked[value(k)]++
	case errors.Is(err, locker.ErrOutcomeUnknown):
		w.unknown[value(k)]++
	case err == nil:
		w.fail("%s: the value of %v changed under %v", p.name, k, entryOf(k, h.Token()))
	}
	return err
}

func register(k keyspace.Key) string { return "/register/" + k.String() }

// update adds one to the register of k, with what was read, if the lock is still held when etcd writes. It reports whether
// another update under the same hold may follow: not after one that may yet be written, which the fence would let pass.
func (p worker) update(h *locker.Hold, k keyspace.Key) bool {
	w := p.w
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	resp, err := p.client.Get(ctx, register(k))
	if err != nil {
		return false
	}
	n := 0
	if len(resp.Kvs) == 1 {
		n = atoi(resp.Kvs[0].Value)
	}
	time.Sleep(p.span(0, time.Second))
	fences := h.Fences()
	if h.Context().Err() == nil { // else they never hold
		w.mu.Lock()
		for k, token := range h.Tokens() {
			w.place(entryOf(k, token)).fenced = true
		}
		w.mu.Unlock()
	}
	done, err := p.client.Txn(ctx).If(fences...).Then(clientv3.OpPut(register(k), strconv.Itoa(n+1))).Commit()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.updates++
	switch {
	case err != nil:
		w.unknown[register(k)]++
		w.log("%s: update of %v to %d: %v", p.name, k, n+1, err)
	case done.Succeeded:
		w.acked[register(k)]++
		w.log("%s: update of %v to %d under %v", p.name, k, n+1, entryOf(k, h.Token()))
	}
	return err == nil
}

func atoi(b []byte) int {
	n, _ := strconv.Atoi(string(b))
	return n
}
