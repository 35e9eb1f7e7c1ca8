package latewrite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// A bed is a List in virtual time, of writes that are numbers.
type bed struct {
	*List[int]
	began      time.Time
	end        context.CancelFunc
	goroutines sync.WaitGroup

	mu      sync.Mutex
	running int
	looks   map[int][]time.Duration // when each write was looked for
	batches []int                   // how many at a time
	order   []int
	over    map[int]bool

	forbidden map[int]bool
	fault     func(ctx context.Context, n int) error // of a look for n writes
}

func inBed(t *testing.T, f func(t *testing.T, b *bed)) {
	synctest.Test(t, func(t *testing.T) {
		base, end := context.WithCancel(context.Background())
		b := &bed{began: time.Now(), end: end, looks: map[int][]time.Duration{}, over: map[int]bool{}}
		b.List = New(Config[int]{
			Base: base,
			Spawn: func(f func()) bool {
				if base.Err() != nil {
					return false
				}
				b.set(func() { b.running++ })
				b.goroutines.Go(func() {
					defer b.set(func() { b.running-- })
					f()
				})
				return true
			},
			Look: b.look,
			Over: func(w int) bool {
				b.mu.Lock()
				defer b.mu.Unlock()
				return b.over[w]
			},
		})
		f(t, b)
		end()
		b.goroutines.Wait()
	})
}

func (b *bed) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

func (b *bed) look(ctx context.Context, writes []int) error {
	b.mu.Lock()
	fault := b.fault
	b.mu.Unlock()
	if fault != nil {
		if err := fault(ctx, len(writes)); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.ContainsFunc(writes, func(w int) bool { return b.forbidden[w] }) {
		return rpctypes.ErrPermissionDenied
	}
	b.batches = append(b.batches, len(writes))
	b.order = append(b.order, writes...)
	for _, w := range writes {
		b.looks[w] = append(b.looks[w], time.Since(b.began))
	}
	return nil
}

// lookedFor returns when a write was looked for, and whether the List has a goroutine.
func (b *bed) lookedFor(w int) (at []time.Duration, running bool) {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.looks[w]), b.running > 0
}

func TestAWriteIsLookedForEachSecondAndThenWithPausesForAMinute(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		if _, running := b.lookedFor(1); running {
			t.Error("an empty List runs")
		}
		b.Add(1)
		time.Sleep(time.Hour)
		at, running := b.lookedFor(1)
		if running {
			t.Error("it goes on")
		}
		pause := time.Duration(0)
		for i, d := range at {
			last := time.Duration(0)
			if i > 0 {
				last = at[i-1]
			}
			if i < 10 && d != time.Duration(i+1)*every {
				t.Errorf("look %d comes after %v", i, d)
			}
			if d-last < pause-every || d-last > 8*every {
				t.Errorf("look %d comes %v after the last, after %v", i, d-last, d)
			}
			pause = d - last
		}
		if n, last := len(at), at[len(at)-1]; n < 15 || n > 40 || last <= suspicion || last > suspicion+10*every {
			t.Errorf("%d looks, the last after %v", n, last)
		}
		b.Add(2)
		time.Sleep(every)
		if at, _ := b.lookedFor(2); len(at) != 1 {
			t.Errorf("a write after a pause is looked for at %v", at)
		}
	})
}

func TestAWriteThatCannotComeIsForgotten(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.Add(1)
		b.Add(2)
		time.Sleep(5*every + every/2)
		b.set(func() { b.over[1] = true })
		time.Sleep(3 * every)
		at, running := b.lookedFor(1)
		if other, _ := b.lookedFor(2); len(at) != 6 || len(other) != 8 || !running {
			t.Errorf("one that is over: at %v; the other: at %v", at, other)
		}
		b.set(func() { b.over[2] = true })
		time.Sleep(2 * every)
		if _, running := b.lookedFor(2); running {
			t.Error("it goes on")
		}
	})
}

func TestALookThatFailsIsMadeAgainAlsoAtTheEnd(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.set(func() { b.fault = func(context.Context, int) error { return errors.New("test: no answer") } })
		b.Add(1)
		time.Sleep(10 * suspicion)
		if at, running := b.lookedFor(1); len(at) > 0 || !running {
			t.Errorf("looked for at %v; goes on: %v", at, running)
		}
		b.set(func() { b.fault = nil })
		time.Sleep(2 * suspicion)
		if at, running := b.lookedFor(1); len(at) != 1 || running {
			t.Errorf("looked for at %v; goes on: %v", at, running)
		}
	})
}

func TestALookIsBounded(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		n := 0
		b.set(func() {
			b.fault = func(ctx context.Context, _ int) error {
				if n++; n > 1 {
					return nil
				}
				<-ctx.Done()
				return ctx.Err()
			}
		})
		b.Add(1)
		time.Sleep(10 * every)
		if at, _ := b.lookedFor(1); len(at) == 0 {
			t.Error("a look that is not answered is waited for")
		}
	})
}

func TestManyWritesAreLookedForInBatches(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		const n = 3*maxRound + 5
		for i := range n {
			b.Add(i)
		}
		time.Sleep(every + every/2)
		_, running := b.lookedFor(0)
		b.set(func() {
			if !running || len(b.order) != maxRound || slices.Max(b.batches) != maxBatch {
				t.Errorf("%d in the first round, at most %d at a time", len(b.order), slices.Max(b.batches))
			}
		})
		time.Sleep(5 * suspicion)
		for i := range n {
			at, running := b.lookedFor(i)
			if len(at) == 0 || running || at[len(at)-1] <= suspicion {
				t.Fatalf("write %d: looked for at %v; goes on: %v", i, at, running)
			}
		}
		if !slices.IsSorted(b.order[:maxRound]) {
			t.Error("the oldest are not the first")
		}
	})
}

func TestBatchesShrinkToWhatEtcdTakes(t *testing.T) {
	for _, most := range []int{8, 1} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				refused := 0
				b.set(func() {
					b.fault = func(_ context.Context, n int) error {
						if n > most {
							refused++
							return rpctypes.ErrTooManyOps
						}
						return nil
					}
				})
				for i := range 100 {
					b.Add(i)
				}
				time.Sleep(5*every + every/2)
				for i := range 100 {
					if at, _ := b.lookedFor(i); len(at) < 5 {
						t.Fatalf("write %d: looked for at %v", i, at)
					}
				}
				if refused > 6 {
					t.Errorf("etcd refused %d looks", refused)
				}
			})
		})
	}
	inBed(t, func(t *testing.T, b *bed) { // which refuses even one
		b.set(func() { b.fault = func(context.Context, int) error { return rpctypes.ErrTooManyOps } })
		b.Add(1)
		b.Add(2)
		time.Sleep(suspicion)
	})
}

func TestAListEndsWithItsBase(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.Add(1)
		synctest.Wait()
		b.end()
		if _, running := b.lookedFor(1); running {
			t.Error("it goes on")
		}
		b.Add(2)
		time.Sleep(every)
		if at, _ := b.lookedFor(2); len(at) > 0 {
			t.Errorf("looked for at %v", at)
		}
	})
}

func TestAWriteThatMayNotBeLookedForHidesNoOthersAndIsForgotten(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.set(func() { b.forbidden = map[int]bool{3: true} })
		for w := range 8 {
			b.Add(w)
		}
		time.Sleep(3*every + every/2)
		for w := range 8 {
			if at, _ := b.lookedFor(w); len(at) == 0 != (w == 3) {
				t.Errorf("%d was looked for at %v", w, at)
			}
		}
		if n := b.Len(); n != 8 {
			t.Errorf("%d are looked for", n)
		}
		time.Sleep(suspicion + 10*every)
		if n := b.Len(); n != 1 {
			t.Errorf("%d are looked for after a minute", n)
		}
		time.Sleep(forgetAfter - suspicion)
		if _, running := b.lookedFor(3); running || b.Len() != 0 {
			t.Errorf("it goes on, for %d", b.Len())
		}
	})
}
