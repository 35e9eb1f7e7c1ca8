package place

import (
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/feed"
	"github.com/phpgao/elock/internal/record"
)

// turnPatience is how long an entry that hears that the one ahead is gone waits to hear of its turn. Both come from one transaction.
const turnPatience = time.Millisecond

// takesTurns reports whether the entry may be told its turn: it wants to hold the lock alone, and others are ahead that it does not know.
func (p *Place) takesTurns() bool { return !p.complete && p.Claim == (record.Claim{}) }

// takeTurn notes that the entry, which was put again as kv, was told its turn, and reports whether that is so.
func (p *Place) takeTurn(kv *mvccpb.KeyValue) bool {
	if kv == nil || !p.Is(kv) {
		return false
	}
	turn := record.TurnOf(kv)
	if turn == nil {
		return false
	}
	p.Lead(kv.ModRevision)
	p.Mod, p.followers = kv.ModRevision, turn.Followers
	return true
}

// turn returns what is known of the puts of the waiter's entry, nothing where v does not watch them.
func (v *view) turn() (s feed.State) {
	if v.turns != nil {
		v.turns.Read(func(now feed.State) { s = now })
	}
	return s
}

// TellTurn returns what tells the next in the queue its turn, in the transaction in which the entry goes, which is the first. It
// does nothing if that one has gone, or was put again. There is no such operation if the next is not known.
func (p *Place) TellTurn() []clientv3.Op {
	if len(p.followers) == 0 || !p.First() {
		return nil
	}
	next := p.followers[0]
	name := p.Dir + next.Name
	return []clientv3.Op{clientv3.OpTxn(
		[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(name), "=", next.Rev)},
		[]clientv3.Op{clientv3.OpPut(name, record.WithTurn(p.followers), clientv3.WithIgnoreLease())}, nil)}
}

// ForgetFollowers has TellTurn tell nobody.
func (p *Place) ForgetFollowers() { p.followers = nil }
