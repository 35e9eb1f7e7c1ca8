package guard_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func TestAnUpdateStoresWhatItsFunctionReturns(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	a, b := s.locker(t), s.locker(t)
	for i, l := range []*locker.Locker{a, b, a, a, b} {
		v, err := counter(l).Update(t.Context(), func(ctx context.Context, cur int) (int, error) {
			if cur != i {
				t.Errorf("the function gets %d, want %d", cur, i)
			}
			if h, ok := locker.HoldFrom(ctx); !ok || h.Key() != key || h.Err() != nil {
				t.Errorf("the function has hold %v", h)
			}
			wantLocked(t, []*locker.Locker{b, a, b, b, a}[i])
			return cur + 1, nil
		})
		wantValue(t, v, err, i+1)
		wantFree(t, a)
		v, err = counter(b).Get(t.Context())
		wantValue(t, v, err, i+1)
	}
	s.wantStored(t, key, "5")
}

func TestNoUpdateOfManyGoroutinesAndProcessesIsLost(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]locker.Option{
		"with hand-off":  nil,
		"with retaining": {locker.WithRetain(time.Second)},
		"one by one":     {locker.WithHandoff(0), locker.WithoutBatching()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const each, workers, processes = 20, 4, 3
			s := newStore(t)
			watched := watch(t, t.Context(), counter(s.locker(t)))
			wantYields(t, watched, absent)
			var wg sync.WaitGroup
			for range processes {
				g := counter(s.locker(t, opts...))
				for range workers {
					wg.Go(func() {
						for range each {
							if _, err := g.Update(t.Context(), increment); err != nil {
								t.Error(err)
							}
						}
					})
				}
			}
			wg.Wait()
			v, err := counter(s.locker(t)).Get(t.Context())
			wantValue(t, v, err, each*workers*processes)
			for n := range each * workers * processes {
				wantYields(t, watched, n+1)
			}
		})
	}
}

func TestAnUncontendedUpdateIsTwoTransactionsAndNoOtherCall(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]locker.Option{"": nil, "one by one": {locker.WithoutBatching()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			f := new(tap)
			g := counter(s.lockerOn(t, tapped(s.Client(t), f), opts...))
			for n := 1; n < 5; n++ {
				f.reset()
				v, err := g.Update(t.Context(), increment)
				wantValue(t, v, err, n)
				txns, gets := f.sent()
				if len(txns) != 2 || gets != 0 || txns[0].puts(s.name()) || !txns[1].puts(s.name()) {
					t.Errorf("update %d is %d transactions and %d reads: %+v", n, len(txns), gets, txns)
				}
				wantFree(t, s.locker(t))
			}
		})
	}
}

func TestAnUpdateOfAnEqualValueIsACommit(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	g := counter(s.locker(t))
	before := s.put(t, "7")
	v, err := g.Update(t.Context(), func(_ context.Context, n int) (int, error) { return n, nil })
	wantValue(t, v, err, 7)
	after, err := g.GetVersion(t.Context())
	wantVersion(t, after, err, 7)
	if after.Revision <= before {
		t.Errorf("revision %d after %d", after.Revision, before)
	}
}

// wantUntouched fails the test unless space/key has the value 7 as it was
// written at rev, and its lock is free.
func (s store) wantUntouched(t *testing.T, rev int64) {
	t.Helper()
	resp, err := s.client.Get(context.Background(), s.name())
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) != 1 || resp.Kvs[0].ModRevision != rev || string(resp.Kvs[0].Value) != "7" {
		t.Errorf("stored is %v, want 7 at revision %d", resp.Kvs, rev)
	}
	wantFree(t, s.locker(t))
}

func TestAnUpdateWhoseFunctionFailsStoresNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := s.locker(t)
	g := counter(l)
	rev := s.put(t, "7")
	failing(t, s, l, g, rev)
}

// failing updates the value by g in each way in which the function fails, and wants nothing to be stored, and the lock to be free, also
// for l, which g has.
func failing(t *testing.T, s store, l *locker.Locker, g *guard.Guard[int], rev int64) {
	for name, fn := range map[string]func(cancel context.CancelCauseFunc) (int, error){
		"by an error":            func(context.CancelCauseFunc) (int, error) { return 8, errMine },
		"by a panic":             func(context.CancelCauseFunc) (int, error) { panic(errMine) },
		"by Goexit":              func(context.CancelCauseFunc) (int, error) { runtime.Goexit(); return 8, nil },
		"as its context is done": func(cancel context.CancelCauseFunc) (int, error) { cancel(errMine); return 8, nil },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			ended := make(chan error)
			go func() {
				err := errMine // of an exit
				defer func() { ended <- err }()
				defer func() {
					if p := recover(); p != nil {
						err = p.(error)
					}
				}()
				var v int
				v, err = g.Update(ctx, func(context.Context, int) (int, error) { err = errMine; return fn(cancel) })
				if v != 0 {
					t.Errorf("got %d", v)
				}
				if name == "by an error" && err != errMine {
					t.Errorf("got error %v, want it as it is", err)
				}
			}()
			wantErr(t, receive(t, ended), errMine)
			s.wantUntouched(t, rev)
			wantFree(t, l)
		})
	}
}

// losses are the ways to lose a lock.
var losses = map[string]struct {
	opts []locker.Option
	lose func(t *testing.T, s store, a *locker.Locker, h *locker.Hold)
	want error
}{
	"evicted": {nil, func(t *testing.T, s store, _ *locker.Locker, h *locker.Hold) {
		if done, err := s.locker(t).Evict(t.Context(), h.Key()); !done || err != nil {
			t.Errorf("Evict: %v, %v", done, err)
		}
	}, locker.ErrLost},
	"deleted": {nil, func(t *testing.T, s store, _ *locker.Locker, h *locker.Hold) {
		if _, err := s.client.Delete(t.Context(), h.Key().Path(s.prefix), clientv3.WithPrefix()); err != nil {
			t.Error(err)
		}
	}, locker.ErrLost},
	"without its lease": {nil, func(t *testing.T, s store, _ *locker.Locker, h *locker.Hold) {
		resp, err := s.client.Get(t.Context(), h.Key().Path(s.prefix), clientv3.WithPrefix())
		if err == nil {
			_, err = s.client.Revoke(t.Context(), clientv3.LeaseID(resp.Kvs[0].Lease))
		}
		if err != nil {
			t.Error(err)
		}
	}, locker.ErrLost},
	"held too long": {[]locker.Option{locker.WithMaxHeldTime(500 * time.Millisecond), locker.WithMonitorTicks(time.Millisecond)},
		func(t *testing.T, _ store, _ *locker.Locker, h *locker.Hold) {
			receive(t, h.Context().Done())
		}, locker.ErrMaxHeld},
	"closed": {nil, func(t *testing.T, _ store, a *locker.Locker, _ *locker.Hold) {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}, locker.ErrClosed},
}

func TestALostLockFencesAnUpdateOffWhetherItIsKnownOrNot(t *testing.T) {
	t.Parallel()
	for name, loss := range losses {
		for known, own := range map[string]error{"unknown": nil, "known": nil, "known, and an error": errMine} {
			t.Run(name+", "+known, func(t *testing.T) {
				t.Parallel()
				s := newStore(t)
				a := s.locker(t, loss.opts...)
				rev := s.put(t, "7")
				v, err := counter(a).Update(t.Context(), func(ctx context.Context, cur int) (int, error) {
					h, _ := locker.HoldFrom(ctx)
					loss.lose(t, s, a, h)
					if known != "unknown" {
						receive(t, ctx.Done())
					}
					return cur + 1, own
				})
				wantErr(t, err, loss.want)
				wantOp(t, err, "update")
				if own == nil {
					wantErr(t, err, guard.ErrFenced)
				} else {
					wantErr(t, err, own)
				}
				if v != 0 {
					t.Errorf("got %d", v)
				}
				s.wantUntouched(t, rev)
			})
		}
	}
}

func TestARivalsUpdateIsNeverOverwrittenByOneThatLostItsLock(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	a, b := s.locker(t), s.locker(t)
	_, err := counter(a).Update(t.Context(), func(_ context.Context, cur int) (int, error) {
		evict(t, b)
		v, err := counter(b).Update(t.Context(), increment)
		wantValue(t, v, err, 1)
		return cur + 1, nil
	})
	wantErr(t, err, guard.ErrFenced, locker.ErrLost)
	s.wantStored(t, key, "1")
}

func TestAValueThatAStrangerChangesFencesAnUpdateOff(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	a := s.locker(t)
	for name, change := range map[string]func(){
		"changed":             func() { s.put(t, "8") },
		"the same again":      func() { s.put(t, "7") },
		"deleted":             func() { s.delete(t) },
		"deleted and written": func() { s.delete(t); s.put(t, "7") },
	} {
		s.put(t, "7")
		var after *clientv3.GetResponse
		v, err := counter(a).Update(t.Context(), func(_ context.Context, cur int) (int, error) {
			change()
			var err error
			if after, err = s.client.Get(t.Context(), s.name()); err != nil {
				t.Fatal(err)
			}
			return cur + 1, nil
		})
		wantErr(t, err, guard.ErrFenced)
		wantOp(t, err, "update")
		if errors.Is(err, locker.ErrLost) || v != 0 {
			t.Errorf("%s: got %d, %v", name, v, err)
		}
		now, err := s.client.Get(t.Context(), s.name())
		if err != nil {
			t.Fatal(err)
		}
		if now.Count != after.Count || now.Count > 0 && now.Kvs[0].ModRevision != after.Kvs[0].ModRevision {
			t.Errorf("%s: stored is %v, want %v", name, now.Kvs, after.Kvs)
		}
		wantFree(t, s.locker(t))
	}
	// One that appears, too.
	s.delete(t)
	_, err := counter(a).Update(t.Context(), func(context.Context, int) (int, error) { s.put(t, "7"); return 8, nil })
	wantErr(t, err, guard.ErrFenced)
	s.wantStored(t, key, "7")
}

func TestAValueThatDoesNotEncodeOrDecodeStaysWhatItIs(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	a := s.locker(t)
	rev := s.put(t, "7")
	update := func(c lame, want error) {
		t.Helper()
		v, err := guard.New(a, key, guard.Stored[int](c)).Update(t.Context(), func(_ context.Context, cur int) (int, error) {
			if c.unmarshal != nil {
				t.Error("the function ran")
			}
			return cur + 1, nil
		})
		wantErr(t, err, want, errMine)
		wantOp(t, err, "update")
		if v != 0 {
			t.Errorf("got %d", v)
		}
		s.wantUntouched(t, rev)
	}
	update(lame{unmarshal: errMine}, guard.ErrDecode)
	update(lame{marshal: errMine}, guard.ErrEncode)
}

func TestAValueTooLargeForEtcdStaysWhatItIs(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	g := guard.New(s.locker(t), key, guard.Stored(guard.Bytes[string]()))
	rev := s.put(t, "7")
	for _, size := range []int{1600 << 10, 1800 << 10, 3 << 20, 20 << 20} { // for etcd, etcd, gRPC and gRPC
		v, err := g.Update(t.Context(), func(context.Context, string) (string, error) { return strings.Repeat("x", size), nil })
		wantErr(t, err, guard.ErrTooLarge)
		wantOp(t, err, "update")
		if v != "" {
			t.Errorf("got %d bytes", len(v))
		}
		s.wantUntouched(t, rev)
	}
	large := strings.Repeat("x", 1400<<10)
	v, err := g.Update(t.Context(), func(context.Context, string) (string, error) { return large, nil })
	wantValue(t, v, err, large)
	v, err = g.Get(t.Context())
	wantValue(t, v, err, large)
}

func TestAnUpdateWithinOneOfTheSameValueIsRefused(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	g := counter(s.locker(t))
	v, err := g.Update(t.Context(), func(ctx context.Context, cur int) (int, error) {
		_, err := g.Update(ctx, func(context.Context, int) (int, error) { panic("it ran") })
		wantErr(t, err, locker.ErrDeadlock)
		return cur + 1, nil
	})
	wantValue(t, v, err, 1)
}

func TestTheOptionsOfAnAcquireReachAnUpdate(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := s.locker(t)
	other := keyspace.MustParse("other")
	g := counter(l, guard.Acquiring[int](locker.TTL(time.Hour), locker.ReadKeys(s.nameOf(other))))
	v, err := g.Update(t.Context(), func(ctx context.Context, cur int) (int, error) {
		h, _ := locker.HoldFrom(ctx)
		if left := h.Remaining(); left <= locker.DefaultTTL {
			t.Errorf("%v remain of a TTL of 1h", left)
		}
		if read := h.Read(); len(read) != 2 || slices.Contains(read[:1], nil) != true {
			t.Errorf("the acquire read %v", read)
		}
		return cur + 1, nil
	})
	wantValue(t, v, err, 1)
}

func TestANilFunctionIsInvalid(t *testing.T) {
	t.Parallel()
	a, _ := newPair(t)
	g := counter(a)
	_, err := g.Update(t.Context(), nil)
	wantErr(t, err, locker.ErrInvalidOption)
	wantErr(t, g.View(t.Context(), nil), locker.ErrInvalidOption)
	wantErr(t, guard.Update2[int, int](t.Context(), g, g, nil), locker.ErrInvalidOption)
	wantErr(t, guard.UpdateN(t.Context(), []*guard.Guard[int]{g}, nil), locker.ErrInvalidOption)
}
