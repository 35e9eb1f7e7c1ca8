package queue

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/place"
	"github.com/phpgao/elock/internal/proctest"
	"github.com/phpgao/elock/internal/record"
)

func announced(e *Entry) string {
	r := e.Record()
	return r.Announcement()
}

// announced wants e to be in etcd with that text.
func (b *bed) announced(e *Entry, text string) {
	b.t.Helper()
	b.holds(e)
	if r, ok := record.Parse(b.kvs()[0].Value); !ok || r.Announcement() != text || announced(e) != text || r.Nonce != e.Record().Nonce {
		b.t.Fatalf("in etcd: %+v; the entry has %q", r, announced(e))
	}
}

func TestAnAnnouncementIsPutOverTheLastOne(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		e := b.alone()
		b.obtain(e, false)
		for _, text := range []string{"first", "\xff", "", "last"} {
			if inDoubt, err := e.Announce(t.Context(), text); inDoubt || err != nil {
				t.Fatal(inDoubt, err)
			}
			b.announced(e, text)
		}
		if b.write != 5 || b.reads != 0 {
			t.Errorf("%d writes, %d reads", b.write, b.reads)
		}
	})
}

func TestAnAnnouncementWhoseAnswerIsLostIsFound(t *testing.T) {
	for name, l := range lost {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				e := b.alone()
				b.obtain(e, false)
				b.next(l.fates...)
				if inDoubt, err := e.Announce(t.Context(), "text"); inDoubt || err != nil {
					t.Fatal(inDoubt, err)
				}
				b.announced(e, "text")
				time.Sleep(time.Second) // a late one changes nothing
				b.announced(e, "text")
			})
		})
	}
}

// One that was given up may come before the next, and never after it.
func TestAnAnnouncementThatWasGivenUpDoesNotComeAfterTheNext(t *testing.T) {
	for _, late := range []time.Duration{500 * time.Millisecond, 2 * time.Second} {
		inBed(t, func(t *testing.T, b *bed) {
			e := b.alone()
			b.obtain(e, false)
			b.next(etcdsim.Fate{Lose: etcdsim.Request, Hang: true, Late: late})
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if inDoubt, err := e.Announce(ctx, "given up"); !inDoubt || !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(inDoubt, err)
			}
			time.Sleep(time.Second)
			if inDoubt, err := e.Announce(t.Context(), "next"); inDoubt || err != nil {
				t.Fatal(inDoubt, err)
			}
			b.announced(e, "next")
			time.Sleep(2 * time.Second)
			b.announced(e, "next")
		})
	}
}

func TestWhoseEntryIsGoneAnnouncesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		act  func(b *bed, e *Entry)
		want error
	}{
		"deleted": {func(b *bed, e *Entry) { b.delete(e.Name) }, place.ErrDisplaced},
		"replaced": {func(b *bed, e *Entry) {
			b.delete(e.Name)
			proctest.Must(b.Other.Put(b.t.Context(), e.Name, string(e.Record().Encode()), clientv3.WithLease(clientv3.LeaseID(e.LeaseID))))
		}, place.ErrDisplaced},
		"without its lease": {func(b *bed, e *Entry) { proctest.Must(b.Other.Put(b.t.Context(), e.Name, "by hand")) }, place.ErrDisplaced},
		"evicted": {func(b *bed, e *Entry) {
			r := e.Record()
			r.Evicted = true
			proctest.Must(b.Other.Put(b.t.Context(), e.Name, string(r.Encode()), clientv3.WithIgnoreLease()))
		}, ErrEvicted},
	} {
		for lost, fates := range map[string][]etcdsim.Fate{"": nil, " in doubt": {{Lose: etcdsim.Request}}} {
			t.Run(name+lost, func(t *testing.T) {
				inBed(t, func(t *testing.T, b *bed) {
					e := b.alone()
					b.obtain(e, false)
					c.act(b, e)
					before := b.kvs()
					b.next(fates...)
					if inDoubt, err := e.Announce(t.Context(), "text"); inDoubt || err != c.want {
						t.Errorf("%v, %v, want %v", inDoubt, err, c.want)
					}
					after := b.kvs()
					if len(after) != len(before) || len(after) > 0 && after[0].ModRevision != before[0].ModRevision || announced(e) != "" {
						t.Errorf("in etcd: %v; the entry has %q", after, announced(e))
					}
				})
			})
		}
	}
}

func TestAnAnnouncementThatEtcdRefusesIsNotInDoubt(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		e := b.alone()
		b.obtain(e, false)
		b.next(etcdsim.Fate{Refuse: rpctypes.ErrGRPCPermissionDenied}, etcdsim.Fate{Refuse: rpctypes.ErrGRPCPermissionDenied})
		if inDoubt, err := e.Announce(t.Context(), "text"); inDoubt || !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Errorf("%v, %v", inDoubt, err)
		}
	})
}

// Somebody asks for the lock between two announcements. That must not be written over.
func TestAnAnnouncementKeepsARequest(t *testing.T) {
	for name, l := range lost {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				e := b.alone()
				b.obtain(e, false)
				asked := e.Record()
				asked.Request = &record.Request{By: "ops"}
				proctest.Must(b.Other.Put(t.Context(), e.Name, string(asked.Encode()), clientv3.WithIgnoreLease()))
				for _, text := range []string{"first", "second"} {
					b.next(l.fates...)
					if inDoubt, err := e.Announce(t.Context(), text); inDoubt || err != nil {
						t.Fatal(inDoubt, err)
					}
					b.announced(e, text)
					if r := record.Requested(b.kvs()[0]); r == nil || r.By != "ops" {
						t.Errorf("the request is %v", r)
					}
				}
			})
		})
	}
}
