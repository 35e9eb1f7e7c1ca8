package place

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/feed"
	"github.com/phpgao/elock/internal/record"
)

// turnPatience is how long an entry that hears that the one ahead is gone waits to hear of its turn. Both come from one transaction.
const turnPatience = time.Millisecond

// renewPatience is how long it waits, then, to read who is behind.
const renewPatience = 20 * time.Millisecond

// takesTurns reports whether the entry may be told its turn: it is in the depth of a queue, and wants the lock alone.
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

// told notes that the entry was told its turn, if v says so. listens says that v would say so. changed is closed when there is more
// to know.
func (p *Place) told(v view) (taken, listens bool, changed <-chan struct{}) {
	if v.turns == nil {
		return false, false, nil
	}
	var put *mvccpb.KeyValue
	v.turns.Read(func(s feed.State) { put, listens, changed = s.Put, s.Since != 0, s.Changed })
	return p.takeTurn(put), listens, changed
}

// renewFollowers reads who follows the entry, which was told its turn, where nothing is known of that any more. It fails only if
// the entry is gone.
func (p *Place) renewFollowers(ctx context.Context) error {
	if len(p.followers) > 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, renewPatience)
	defer cancel()
	if err := p.look(ctx, true); errors.Is(err, ErrDisplaced) {
		return err
	}
	return nil
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
