package inspect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/place"
)

// queue puts entries of those names, one after another; that of f is foreign. It returns the place of the first.
func (b *bed) queue(names string) *place.Place {
	b.t.Helper()
	for _, name := range strings.Fields(names) {
		if name == "f" {
			b.put(name, "foreign", b.lease)
		} else {
			b.put(name, text(name), b.lease)
		}
	}
	first := b.wants(names)[0]
	return &place.Place{Dir: dir, Name: string(first.Key), Rev: first.CreateRevision, LeaseID: first.Lease}
}

func TestThoseBetweenTheHolderAndTheNamedWaiterStepBack(t *testing.T) {
	for _, c := range []struct {
		before, owner, after string
		want                 error
	}{
		{"a b c d", "d", "a d", nil},
		{"a b c d", "c", "a c d", nil},
		{"a b", "b", "a b", nil},
		{"a b c f", "c", "a c f", nil},
		{"a f c", "c", "a f c", ErrNotWaiting},
		{"a b", "c", "a b", ErrNotWaiting},
		{"a b", "a", "a b", ErrNotWaiting},
		{"a", "b", "a", ErrNotWaiting},
	} {
		t.Run(c.before+", "+c.owner, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				holder := b.queue(c.before)
				for range 2 { // it may be repeated
					if err := b.Promote(t.Context(), key, holder, c.owner); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
						t.Errorf("%v, want %v", err, c.want)
					}
					b.wants(c.after)
				}
			})
		})
	}
}

func TestManyStepBackBySeveralTransactions(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		names := "a"
		for i := range 2*maxStepBack + 10 {
			names += fmt.Sprint(" n", i)
		}
		holder := b.queue(names + " z")
		writes := 0
		b.fate = func(request string) (fate etcdsim.Fate) {
			if strings.Contains(request, "request_delete_range") {
				writes++
			}
			return fate
		}
		if err := b.Promote(t.Context(), key, holder, "z"); err != nil || writes != 3 {
			t.Errorf("%v, by %d transactions", err, writes)
		}
		b.wants("a z")
	})
}

// Between its read and its transaction, somebody comes or goes.
func TestAPromotionLooksAgainIfTheQueueHasChanged(t *testing.T) {
	for name, c := range map[string]struct {
		change string // the name that is deleted
		after  string
		want   error
	}{
		"one of those between gives up": {"b", "a d", nil},
		"the waiter gives up":           {"d", "a b c", ErrNotWaiting},
		"the holder releases":           {"a", "b c d", place.ErrDisplaced},
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				holder := b.queue("a b c d")
				changed := false
				b.fate = func(request string) (fate etcdsim.Fate) {
					if !changed && strings.Contains(request, "request_delete_range") {
						changed = true
						fate.Send = time.Second
						go b.delete(c.change)
					}
					return fate
				}
				if err := b.Promote(t.Context(), key, holder, "d"); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
					t.Errorf("%v, want %v", err, c.want)
				}
				b.wants(c.after)
			})
		})
	}
}

func TestALostAnswerOfAPromotionIsLookedUp(t *testing.T) {
	for _, lose := range []etcdsim.Fate{{Lose: etcdsim.Answer}, {Lose: etcdsim.Request}, {Lose: etcdsim.Answer, Hang: true}} {
		inBed(t, func(t *testing.T, b *bed) {
			holder := b.queue("a b c")
			lost := false
			b.fate = func(request string) (fate etcdsim.Fate) {
				if !lost && strings.Contains(request, "request_delete_range") {
					lost = true
					return lose
				}
				return fate
			}
			if err := b.Promote(t.Context(), key, holder, "c"); err != nil {
				t.Error(err)
			}
			b.wants("a c")
		})
	}
}

func TestAPromotionThatIsRefusedOrNotAnsweredFails(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		holder := b.queue("a b c")
		b.fate = func(request string) (fate etcdsim.Fate) {
			if strings.Contains(request, "request_delete_range") {
				fate.Refuse = rpctypes.ErrGRPCPermissionDenied
			}
			return fate
		}
		if err := b.Promote(t.Context(), key, holder, "c"); !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		b.fate = func(string) etcdsim.Fate { return etcdsim.Fate{Lose: etcdsim.Request, Hang: true} }
		if err := b.Promote(ctx, key, holder, "c"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		b.fate = func(string) (fate etcdsim.Fate) { return fate }
		b.wants("a b c")
	})
}
