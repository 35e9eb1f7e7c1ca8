package queue

import (
	"fmt"
	"testing"
	"testing/synctest"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/place"
	"github.com/phpgao/elock/internal/proctest"
	"github.com/phpgao/elock/internal/record"
)

// firstOfMany returns an entry that has come from the depth of a queue to its head, and the one directly behind it.
func (b *bed) firstOfMany() (e *Entry, next string) {
	b.t.Helper()
	plain := record.Record{Mode: record.Exclusive}
	for i := range place.Nearby + 1 {
		b.foreign(fmt.Sprint("ahead-", i), plain)
	}
	e = b.alone()
	obtained := make(chan error, 1)
	go func() { obtained <- e.Obtain(b.t.Context(), false, func(*mvccpb.KeyValue, int) {}) }()
	synctest.Wait()
	b.foreign("next", plain)
	b.foreign("last", plain)
	for i := range place.Nearby + 1 {
		b.delete(fmt.Sprint("/elock/lock/ahead-", i))
	}
	if err := <-obtained; err != nil || !e.First() {
		b.t.Fatal(err)
	}
	return e, "/elock/lock/next"
}

// told reports whether an entry was told its turn.
func (b *bed) told(name string) bool {
	for _, kv := range b.kvs() {
		if string(kv.Key) == name {
			return record.TurnOf(kv) != nil
		}
	}
	return false
}

func TestWhoLeavesTellsTheNextItsTurn(t *testing.T) {
	for name, leave := range map[string]func(b *bed, e *Entry) error{
		"leave": func(b *bed, e *Entry) error {
			_, err := b.leave(e)
			return err
		},
		"clean": func(_ *bed, e *Entry) error {
			e.Clean(nil)
			return nil
		},
		"replace": func(b *bed, e *Entry) error {
			successor := b.under(e.Lease, key, record.Exclusive)
			successor.Name += "-1"
			w := b.Etcd.Detached(b.t.Context())
			defer w.Stop()
			_, err := e.Replace(w, successor)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				e, next := b.firstOfMany()
				if err := leave(b, e); err != nil || !b.told(next) || b.told("/elock/lock/last") {
					t.Errorf("%v, told: %v", err, b.told(next))
				}
			})
		})
	}
}

func TestAnEntryLeavesThoughItsTurnIsRefused(t *testing.T) {
	for name, fate := range map[string]etcdsim.Fate{
		"no space":            {Refuse: rpctypes.ErrGRPCNoSpace},
		"no space, but done":  {Refuse: rpctypes.ErrGRPCNoSpace, Carried: true},
		"permission denied":   {Refuse: rpctypes.ErrGRPCPermissionDenied},
		"too many operations": {Refuse: rpctypes.ErrGRPCTooManyOps},
		"a lease is gone":     {Refuse: rpctypes.ErrGRPCLeaseNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				e, next := b.firstOfMany()
				b.next(fate)
				if gone, err := b.leave(e); err != nil || !gone || b.told(next) != fate.Carried || len(b.kvs()) != 2 {
					t.Errorf("gone: %v, %v; told: %v, %d are left", gone, err, b.told(next), len(b.kvs()))
				}
			})
		})
	}
}

// Without space etcd has carried out the removal with its turn, and does not answer that without it.
func TestARemovalWithItsTurnMayBeCarriedOutThoughItIsRefused(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		e, next := b.firstOfMany()
		b.next(etcdsim.Fate{Refuse: rpctypes.ErrGRPCNoSpace, Carried: true}, etcdsim.Fate{Refuse: rpctypes.ErrGRPCRequestTooManyRequests})
		if gone, err := b.leave(e); err != nil || !gone || !b.told(next) {
			t.Errorf("gone: %v, %v; told: %v", gone, err, b.told(next))
		}
	})
}

// etcd does not answer the entry's put before the one ahead leaves.
func TestAnEntryIsFoundThoughItWasToldItsTurn(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.foreign("ahead", record.Record{Mode: record.Exclusive})
		e := b.alone()
		b.next(etcdsim.Fate{Lose: etcdsim.Answer, Hang: true})
		o := b.start(e, false)
		own := proctest.Must(b.Other.Get(t.Context(), e.Name)).Kvs[0]
		b.delete("/elock/lock/ahead")
		proctest.Must(b.Other.Put(t.Context(), e.Name, record.WithTurn(record.Follower{Rev: own.CreateRevision, Value: own.Value}, nil), clientv3.WithIgnoreLease()))
		o.returns(nil)
		b.holds(e)
		if e.Rev != own.CreateRevision {
			t.Error("it has joined again")
		}
	})
}
