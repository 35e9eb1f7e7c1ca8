package otelhook_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

var (
	other        = keyspace.MustParse("space/other")
	quickMonitor = locker.WithMonitorTicks(5 * time.Millisecond)
	overdue      = locker.MaxHeld(time.Millisecond)
)

// outcomes are the ends of the spans called name: outcome, status, error type.
func (p *process) outcomes(name string) (all []string) {
	for _, s := range p.spans.Ended() {
		if s.Name() != name {
			continue
		}
		end := map[string]string{}
		for _, a := range s.Attributes() {
			end[string(a.Key)] = a.Value.String()
		}
		all = append(all, end["elock.outcome"]+" "+s.Status().Code.String()+" "+end["error.type"])
	}
	return all
}

func TestAnAcquireThatFailsSaysWhyAndOnlySomeReasonsAreErrors(t *testing.T) {
	t.Parallel()
	canceled := func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancelCause(ctx)
		time.AfterFunc(20*time.Millisecond, func() { cancel(errors.New("the user left")) })
		return ctx, func() { cancel(nil) }
	}
	deadline := func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeout(ctx, time.Second)
	}
	for _, tt := range []struct {
		name string
		ctx  func(context.Context) (context.Context, context.CancelFunc)
		do   func(*process, context.Context) error
		want string
	}{
		{"locked", context.WithCancel, func(p *process, ctx context.Context) error { _, err := p.TryAcquire(ctx, key); return err }, "locked Unset "},
		{"canceled", canceled, func(p *process, ctx context.Context) error { _, err := p.Acquire(ctx, key); return err }, "canceled Unset "},
		{"deadline", deadline, func(p *process, ctx context.Context) error { _, err := p.Acquire(ctx, key); return err }, "deadline Error deadline"},
		{"closed", context.WithCancel, func(p *process, ctx context.Context) error {
			blocked := locktest.Async(t, func() error { _, err := p.Acquire(ctx, key); return err })
			p.untilEvent(t, "elock.queued", 1)
			if err := p.Close(); err != nil {
				return nil
			}
			return blocked()
		}, "error Error closed"},
		{"under a lost lock", context.WithCancel, func(p *process, ctx context.Context) error {
			return p.RunInLock(ctx, other, func(ctx context.Context, _ *locker.Hold) error {
				loseLease(p, other)
				_, err := p.Acquire(ctx, key)
				return err
			}, locker.TTL(2*time.Second))
		}, "lost Error lease_expired"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			holder, p := w.process("holder"), w.process("p")
			held := holder.acquire(t, t.Context(), key)
			defer locktest.Release(t, held)
			ctx, cancel := tt.ctx(t.Context())
			defer cancel()
			if err := tt.do(p, ctx); err == nil {
				t.Error("acquired")
			}
			all := p.outcomes("elock.acquire")
			if got := all[len(all)-1]; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// loseLease revokes the lease under which p holds k.
func loseLease(p *process, k keyspace.Key) {
	resp, err := p.client.Get(context.Background(), k.Path(p.prefix), clientv3.WithPrefix())
	if err == nil {
		_, err = p.client.Revoke(context.Background(), clientv3.LeaseID(resp.Kvs[0].Lease))
	}
	if err != nil {
		panic(err)
	}
}

func deleteKey(p *process, k keyspace.Key) {
	if _, err := p.client.Delete(context.Background(), k.Path(p.prefix), clientv3.WithPrefix()); err != nil {
		panic(err)
	}
}

func TestAHoldSaysHowItEnded(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, tt := range []struct {
		name    string
		end     func(*process, *locker.Hold)
		want    string
		timeout string
	}{
		{"released", func(_ *process, h *locker.Hold) { _ = h.Release(ctx) }, "released Unset ", ""},
		{"closed", func(p *process, _ *locker.Hold) { _ = p.Close() }, "closed Unset ", ""},
		{"evicted", func(p *process, _ *locker.Hold) { _, _ = p.Evict(ctx, key) }, "evicted Error evicted", ""},
		{"key deleted", func(p *process, _ *locker.Hold) { deleteKey(p, key) }, "lost Error key_deleted", ""},
		{"lease expired", func(p *process, _ *locker.Hold) { loseLease(p, key) }, "lost Error lease_expired", ""},
		{"held too long", func(*process, *locker.Hold) {}, "max_held Error max_held", "released Unset "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newWorld(t).process("p", quickMonitor)
			maxHeld := locktest.Wait
			if tt.timeout != "" {
				maxHeld = time.Millisecond
			}
			h := p.acquire(t, ctx, key, locker.MaxHeld(maxHeld), locker.TTL(2*time.Second))
			tt.end(p, h)
			locktest.Receive(t, h.Context().Done())
			want := []string{tt.want}
			locktest.Until(t, "the hold's span has ended", func() bool { return len(p.outcomes("elock.hold")) == 1 })
			if diff := cmp.Diff(want, p.outcomes("elock.hold")); diff != "" {
				t.Error(diff)
			}
			if tt.timeout == "" {
				return
			}
			locktest.Until(t, "the timeout's span has ended", func() bool { return len(p.outcomes("elock.timeout")) == 1 })
			if diff := cmp.Diff([]string{tt.timeout}, p.outcomes("elock.timeout")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestATimeoutWhoseReleaseFindsTheLockGoneSaysSo(t *testing.T) {
	t.Parallel()
	p := newWorld(t).process("p", locker.WithMonitorTicks(time.Second))
	p.acquire(t, t.Context(), key, overdue)
	deleteKey(p, key) // before the tick, and before the loss watcher looks
	locktest.Until(t, "the timeout's span has ended", func() bool { return len(p.outcomes("elock.timeout")) == 1 })
	if diff := cmp.Diff([]string{"lost Error key_deleted"}, p.outcomes("elock.timeout")); diff != "" {
		t.Error(diff)
	}
}
