package place

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/feed"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/internal/xctx"
)

// turnPatience is how long an entry that hears that the one ahead is gone waits to hear of its turn. Both come from one transaction.
const turnPatience = time.Millisecond

// behindPatience is how long after its turn an entry that goes waits to hear who is behind it.
const behindPatience = 100 * time.Millisecond

// takesTurns reports whether the one ahead may tell the entry its turn: if the entry wants the lock alone, and does not know everybody
// ahead.
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

// getFollowers reads the next ones behind the entry.
func (p *Place) getFollowers() clientv3.Op {
	return clientv3.OpGet(p.Dir, clientv3.WithPrefix(), clientv3.WithMinCreateRev(p.Rev+1),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend), clientv3.WithLimit(record.MaxFollowers))
}

// lookBehind begins to read who is directly behind the entry, unless that is known. It does not wait for the answer: TellTurn does.
func (p *Place) lookBehind() {
	if len(p.followers) > 0 {
		return
	}
	look := batch.Txn{Key: p.Key, Then: []clientv3.Op{p.getFollowers()}, ExpectSuccess: true}
	read, cfg, dir := make(chan record.Followers, 1), p.cfg, p.Dir
	spawned := cfg.Spawn(func() {
		defer close(read)
		ctx, cancel := context.WithTimeout(cfg.Base, xctx.Patience(0))
		defer cancel()
		if seen, err := cfg.Batch.Commit(ctx, look); err == nil {
			read <- record.FollowersOf(dir, seen.KVs(0))
		}
	})
	if spawned {
		p.coming = &coming{read, time.Now().Add(behindPatience)}
	}
}

// A coming is a read of an entry's followers that is under way.
type coming struct {
	followers <-chan record.Followers // closed without any if etcd does not answer
	until     time.Time               // when the entry stops waiting for them
}

// wait returns the followers, or none if time is up or the caller's context ends first.
func (c *coming) wait(ctx context.Context) (all record.Followers) {
	select {
	case all = <-c.followers:
		return all
	default:
	}
	late := time.NewTimer(time.Until(c.until))
	defer late.Stop()
	ended, limit := xctx.DoneChans(ctx)
	if g, ok := ctx.(*xctx.Grace); ok {
		ended = g.Outlives().Done() // a release ends the context of the function that makes it
	}
	select {
	case all = <-c.followers:
	case <-late.C:
	case <-ended:
	case <-limit:
	}
	return all
}

// turn returns what is known of the puts of the waiter's entry, nothing where v does not watch them.
func (v *view) turn() (s feed.State) {
	if v.turns != nil {
		v.turns.Read(func(now feed.State) { s = now })
	}
	return s
}

// TellTurn returns the operation that tells the next in the queue its turn, for the transaction in which the entry, which is the first,
// goes. It does nothing if that one has gone, or was put again. There is none if the next is not known: then that one reads. TellTurn
// waits for a read that lookBehind has begun, until 100 ms after the turn at most, and not longer than the caller of ctx.
func (p *Place) TellTurn(ctx context.Context) []clientv3.Op {
	if p.coming != nil {
		p.followers, p.coming = p.coming.wait(ctx), nil
	}
	next, ok := p.followers.First()
	if !ok || !p.First() {
		return nil
	}
	name := p.Dir + next.Name
	return []clientv3.Op{clientv3.OpTxn(
		[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(name), "=", next.Rev)},
		[]clientv3.Op{clientv3.OpPut(name, record.WithTurn(next, p.followers[1:]), clientv3.WithIgnoreLease())}, nil)}
}

// ForgetFollowers has TellTurn tell nobody.
func (p *Place) ForgetFollowers() { p.followers, p.coming = nil, nil }
