package otelhook_test

import (
	"context"
	"errors"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.opentelemetry.io/otel/trace"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
)

func TestTheHoldFollowsTheAcquireUnderTheCallersSpanAndHoldsThoseOfTheFunction(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.process("p")
	ctx, span := p.request("request")
	err := p.RunInLock(ctx, key, func(ctx context.Context, h *locker.Hold) error {
		_, work := p.tracers.Tracer("test").Start(ctx, "work")
		work.End()
		_, more := p.tracers.Tracer("test").Start(h.Context(), "more work")
		more.End()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	span.End()
	want(t, `
		request in p
			elock.acquire (client) elock.key=space/key elock.mode=exclusive elock.outcome=acquired elock.token=#1 elock.try=false
			elock.hold (internal) elock.key=space/key elock.mode=exclusive elock.outcome=released elock.token=#1 elock.wait=…
				work
				more work
		`, w.picture())
}

func TestWithoutACallersSpanAcquireAndHoldShareATrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.process("p")
	locktest.Release(t, p.acquire(t, t.Context(), key))
	want(t, `
		elock.acquire in p (client) elock.key=space/key elock.mode=exclusive elock.outcome=acquired elock.token=#1 elock.try=false
			elock.hold (internal) elock.key=space/key elock.mode=exclusive elock.outcome=released elock.token=#1 elock.wait=…
		`, w.picture())
}

func TestALockUnderALockIsInItsHold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.process("p")
	outer := p.acquire(t, t.Context(), key)
	locktest.Release(t, p.acquire(t, outer.Context(), other))
	locktest.Release(t, outer)
	want(t, `
		elock.acquire in p (client) elock.key=space/key elock.mode=exclusive elock.outcome=acquired elock.token=#1 elock.try=false
			elock.hold (internal) elock.key=space/key elock.mode=exclusive elock.outcome=released elock.token=#1 elock.wait=…
				elock.acquire (client) elock.key=space/other elock.mode=exclusive elock.outcome=acquired elock.token=#2 elock.try=false
				elock.hold (internal) elock.key=space/other elock.mode=exclusive elock.outcome=released elock.token=#2 elock.wait=…
		`, w.picture())
}

// spannedKV stands for a client whose gRPC is instrumented.
type spannedKV struct {
	clientv3.KV
	tracer func() trace.Tracer
}

func (kv spannedKV) Txn(ctx context.Context) clientv3.Txn {
	ctx, span := kv.tracer().Start(ctx, "etcd txn")
	return spannedTxn{kv.KV.Txn(ctx), span}
}

type spannedTxn struct {
	clientv3.Txn
	span trace.Span
}

func (x spannedTxn) If(cs ...clientv3.Cmp) clientv3.Txn { return spannedTxn{x.Txn.If(cs...), x.span} }

func (x spannedTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	return spannedTxn{x.Txn.Then(ops...), x.span}
}

func (x spannedTxn) Else(ops ...clientv3.Op) clientv3.Txn {
	return spannedTxn{x.Txn.Else(ops...), x.span}
}

func (x spannedTxn) Commit() (*clientv3.TxnResponse, error) {
	defer x.span.End()
	return x.Txn.Commit()
}

func TestCallsToEtcdNestUnderTheAcquireAndTheTimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var p *process
	client := w.server.Client(t)
	client.KV = spannedKV{client.KV, func() trace.Tracer { return p.tracers.Tracer("test") }}
	p = w.processOn(client, "p", quickMonitor)
	h := p.acquire(t, t.Context(), key, overdue)
	locktest.Receive(t, h.Context().Done())
	p.untilEnded(t, 5)
	want(t, `
		elock.acquire in p (client) elock.key=space/key elock.mode=exclusive elock.outcome=acquired elock.token=#1 elock.try=false
			etcd txn
			elock.hold (internal) Error: "locker: lock held longer than allowed" elock.key=space/key elock.mode=exclusive elock.outcome=max_held elock.token=#1 elock.wait=… error.type=max_held
				elock.timeout (internal) elock.held=… elock.key=space/key elock.limit=0.001 elock.mode=exclusive elock.outcome=released elock.token=#1
					etcd txn
		`, w.picture())
}

func TestAPanicUnderTheLockEndsItsSpans(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.process("p")
	func() {
		defer func() { _ = recover() }()
		_ = p.RunInLock(t.Context(), key, func(context.Context, *locker.Hold) error { panic(errors.New("stop")) })
	}()
	want(t, `
		elock.acquire in p (client) elock.key=space/key elock.mode=exclusive elock.outcome=acquired elock.token=#1 elock.try=false
			elock.hold (internal) elock.key=space/key elock.mode=exclusive elock.outcome=released elock.token=#1 elock.wait=…
		`, w.picture())
}

func TestTheReleaseAfterAFunctionNestsUnderItsHold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var p *process
	client := w.server.Client(t)
	client.KV = spannedKV{client.KV, func() trace.Tracer { return p.tracers.Tracer("test") }}
	p = w.processOn(client, "p")
	if err := p.RunInLock(t.Context(), key, func(context.Context, *locker.Hold) error { return nil }); err != nil {
		t.Fatal(err)
	}
	want(t, `
		elock.acquire in p (client) elock.key=space/key elock.mode=exclusive elock.outcome=acquired elock.token=#1 elock.try=false
			etcd txn
			elock.hold (internal) elock.key=space/key elock.mode=exclusive elock.outcome=released elock.token=#1 elock.wait=…
				etcd txn
		`, w.picture())
}

func TestAHoldOfSlotsSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.process("p")
	locktest.Release(t, p.acquire(t, t.Context(), key, locker.Slots(2)))
	want(t, `
		elock.acquire in p (client) elock.key=space/key elock.mode=slots elock.outcome=acquired elock.token=#1 elock.try=false
			elock.hold (internal) elock.key=space/key elock.mode=slots elock.outcome=released elock.token=#1 elock.wait=…
		`, w.picture())
}

func TestASharedHoldSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.process("p")
	locktest.Release(t, p.acquire(t, t.Context(), key, locker.Shared()))
	want(t, `
		elock.acquire in p (client) elock.key=space/key elock.mode=shared elock.outcome=acquired elock.token=#1 elock.try=false
			elock.hold (internal) elock.key=space/key elock.mode=shared elock.outcome=released elock.token=#1 elock.wait=…
		`, w.picture())
}
