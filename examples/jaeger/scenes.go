package main

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

var (
	keys    = keyspace.MustNew[string]("example")
	hotKey  = keys.Key("hot")
	slowKey = keys.Key("slow")
	lostKey = keys.Key("lost")
)

// contend is what each process does: all at once.
func (w *worker) contend(ctx context.Context) error {
	scenes := []func(context.Context) error{w.cold, w.hot, w.hot, w.hotWithoutASpan}
	switch w.name {
	case "reports":
		scenes = append(scenes, w.holdTooLong)
	case "billing":
		scenes = append(scenes, w.loseALock)
	case "checkout":
		scenes = append(scenes, w.waitForSlow, w.waitForLost)
	}
	var g errgroup.Group
	for _, scene := range scenes {
		g.Go(func() error { return scene(ctx) })
	}
	return g.Wait()
}

// job is some work of 10ms, with a span of its own.
func (w *worker) job(ctx context.Context, _ *locker.Hold) error {
	_, span := w.tracer.Start(ctx, "work")
	defer span.End()
	time.Sleep(10 * time.Millisecond)
	return nil
}

// cold locks a key that nobody else wants.
func (w *worker) cold(ctx context.Context) error {
	return w.visit(ctx, "cold", "open the drawer", keys.Key("cold-"+w.name), w.job)
}

const rounds = 5

// hot locks a key that everybody wants.
func (w *worker) hot(ctx context.Context) error {
	for range rounds {
		if err := w.visit(ctx, "hot", "take from the stock", hotKey, w.job); err != nil {
			return err
		}
	}
	return nil
}

// hotWithoutASpan has no span around it: acquire and hold make a trace.
func (w *worker) hotWithoutASpan(ctx context.Context) error {
	for range rounds {
		if err := w.locks.RunInLock(ctx, hotKey, w.job); err != nil {
			return err
		}
	}
	return nil
}

// holdTooLong does not look at its context, and the monitor ends its hold.
func (w *worker) holdTooLong(ctx context.Context) error {
	err := w.visit(ctx, "slow", "nightly report", slowKey, func(ctx context.Context, h *locker.Hold) error {
		<-h.Context().Done()
		time.Sleep(300 * time.Millisecond)
		return nil
	}, locker.MaxHeld(time.Second))
	return expect(err, locker.ErrMaxHeld)
}

func (w *worker) waitForSlow(ctx context.Context) error {
	if err := w.until(ctx, slowKey, func(q locker.Queue) bool { return len(q.Holders) > 0 }); err != nil {
		return err
	}
	return w.visit(ctx, "slow", "print a receipt", slowKey, w.job)
}

// loseALock has its lease revoked, as etcd does when it hears nothing for long.
func (w *worker) loseALock(ctx context.Context) error {
	err := w.visit(ctx, "lost", "correct the stock", lostKey, func(ctx context.Context, _ *locker.Hold) error {
		if err := w.until(ctx, lostKey, func(q locker.Queue) bool { return len(q.Waiters) > 0 }); err != nil {
			return err
		}
		time.Sleep(300 * time.Millisecond) // of work, while somebody waits
		if err := w.revoke(ctx, lostKey); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}, locker.TTL(3*time.Second)) // its own lease: no other lock has this TTL
	return expect(err, locker.ErrLost)
}

func (w *worker) waitForLost(ctx context.Context) error {
	if err := w.until(ctx, lostKey, func(q locker.Queue) bool { return len(q.Holders) > 0 }); err != nil {
		return err
	}
	return w.visit(ctx, "lost", "count the stock", lostKey, w.job)
}

// revoke takes the lease of the holder of key away.
func (w *worker) revoke(ctx context.Context, key keyspace.Key) error {
	resp, err := w.client.Get(ctx, key.Path(w.prefix), clientv3.WithFirstCreate()...)
	if err != nil {
		return err
	}
	_, err = w.client.Revoke(ctx, clientv3.LeaseID(resp.Kvs[0].Lease))
	return err
}

// until waits for the queue of key to become so.
func (w *worker) until(ctx context.Context, key keyspace.Key, so func(locker.Queue) bool) error {
	for {
		q, err := w.locks.Inspect(ctx, key)
		if err != nil || so(q) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func expect(err, want error) error {
	if errors.Is(err, want) {
		return nil
	}
	return errors.Join(err, errors.New("expected: "+want.Error()))
}
