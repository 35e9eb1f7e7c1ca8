package entry

import (
	"context"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/internal/retain"
)

// A Following is how an entry passes on in this process with a transaction of its owner. The zero
// Following says that nobody follows: the entry leaves.
type Following struct {
	Next      *Waiter // who gets the lock then, with the entry or its successor; perhaps nil
	Stays     bool    // the entry does not leave, but is put again
	Successor *Entry  // joins the queue where the entry leaves it, for Next; nil if none does
	Tells     bool    // the next in the queue in etcd is told its turn, as nobody follows here

	e      *Entry
	unlock func()
}

// Follow returns how e may pass on. It stays only where mayStay says so. Then nobody else puts its
// record until Unlock is called.
func (e *Entry) Follow(ctx context.Context, mayStay bool) Following {
	if e.seat > 0 {
		return Following{}
	}
	f := Following{Next: e.next(), e: e}
	switch {
	case mayStay && f.mayStay() && e.retention.LockSure(ctx):
		f.Stays, f.unlock = true, sync.OnceFunc(e.retention.Unlock)
	case f.Next != nil && e.Lease.Waits().Err() == nil:
		f.Successor = e.successorFor(f.Next)
	}
	return f
}

// mayStay reports whether the lock may pass on without a release in etcd.
func (f *Following) mayStay() bool {
	e := f.e
	switch {
	case !e.passable():
		return false
	case f.Next == nil:
		return e.retention != nil || e.mayRetain()
	}
	return e.fits(&f.Next.Value.Want) && e.young()
}

// Amend returns the comparisons and operations with which the entry passes on, in place of those with
// which it leaves. ctx is that of the call.
func (f *Following) Amend(ctx context.Context, held []clientv3.Cmp, exit []clientv3.Op) ([]clientv3.Cmp, []clientv3.Op) {
	switch {
	case f.Stays:
		// Whether the record was put again will tell what became of the rest.
		held = []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(f.e.Name), "=", f.e.Mod)}
		exit = []clientv3.Op{retain.Put(&f.e.Entry, f.e.retention != nil)}
		if f.Next != nil {
			exit = append(exit, record.Gets(f.Next.Value.Want.Reads)...)
		}
	case f.Successor != nil:
		held = append(held, record.Created(f.Successor.Name, 0))
		exit = append(append(exit, f.Successor.Join()...), f.e.TellTurn(ctx)...)
	case f.e != nil:
		turn := f.e.TellTurn(ctx)
		f.Tells = len(turn) > 0
		exit = append(exit, turn...)
	}
	return held, exit
}

// Unlock lets others put the record again. It may be called several times.
func (f *Following) Unlock() {
	if f.unlock != nil {
		f.unlock()
	}
}

// Stayed is for an entry that stays, as a transaction at rev says that did ops, too. answers are those to
// the operations of Amend.
func (f *Following) Stayed(rev int64, ops []clientv3.Op, answers []*pb.ResponseOp) {
	f.e.Mod = rev
	f.e.remember(rev, ops)
	f.Unlock()
	if f.Next != nil {
		f.e.Read = record.ReadOf(rev, f.Next.Value.Want.Reads, answers[1:])
	}
}

// Replaced is for an entry that its successor has replaced, at rev. It calls notify, and passes the lane on.
func (f *Following) Replaced(rev int64, answers []*pb.ResponseOp, notify func()) {
	f.Successor.Joined(rev, answers[1:])
	f.e.replaced(f.Successor, f.Next, notify)
}
