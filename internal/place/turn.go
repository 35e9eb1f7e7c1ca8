package place

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/feed"
	"github.com/phpgao/elock/internal/record"
)

// turnPatience is how long an entry that hears that the one ahead is gone waits to hear of its turn. Both come from one transaction.
const turnPatience = time.Millisecond

// behindPatience is how long an entry that was told its turn waits to hear who is behind it, before it holds.
const behindPatience = 100 * time.Millisecond

// takesTurns reports whether the entry may be told its turn. It wants the lock alone, and does not know all of those ahead.
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
	p.Mod, p.followers, p.more = kv.ModRevision, turn.Followers, turn.More
	return true
}

// getFollowers reads the next ones behind the entry.
func (p *Place) getFollowers() clientv3.Op {
	return clientv3.OpGet(p.Dir, clientv3.WithPrefix(), clientv3.WithMinCreateRev(p.Rev+1),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend), clientv3.WithLimit(record.MaxFollowers))
}

// lookBehind reads who is directly behind the entry, which was told its turn, where that is not known. If etcd does not answer, the
// entry tells nobody, and the next one reads. It fails with ErrDisplaced if the entry is gone.
func (p *Place) lookBehind(ctx context.Context) error {
	if len(p.followers) > 0 || !p.more {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, behindPatience)
	defer cancel()
	look := batch.Txn{Key: p.Key, Then: []clientv3.Op{clientv3.OpGet(p.Name), p.getFollowers()}, ExpectSuccess: true}
	seen, err := p.cfg.Batch.Commit(ctx, look)
	if err != nil {
		return nil
	}
	if own := seen.KVs(0); len(own) == 0 || !p.Is(own[0]) {
		return ErrDisplaced
	}
	p.followers, p.more = record.FollowersOf(p.Dir, seen.KVs(1))
	return nil
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
	next, ok := p.followers.First()
	if !ok || !p.First() {
		return nil
	}
	name := p.Dir + next.Name
	return []clientv3.Op{clientv3.OpTxn(
		[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(name), "=", next.Rev)},
		[]clientv3.Op{clientv3.OpPut(name, record.WithTurn(next, p.followers[1:], p.more), clientv3.WithIgnoreLease())}, nil)}
}

// ForgetFollowers has TellTurn tell nobody.
func (p *Place) ForgetFollowers() { p.followers = nil }
