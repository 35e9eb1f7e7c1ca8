package place

import (
	"context"
	"errors"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/feed"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

// A Config is what places work with.
type Config struct {
	Etcd  *calls.Client
	Batch *batch.Batcher // has looks go together: many begin to wait at once
	Feeds *feed.Hub
	Puts  bool // the feeds of directories tell of new entries, too

	Base  context.Context   // ends with the process, which then revokes its leases
	Spawn func(func()) bool // runs a function on a goroutine, false once the process ends
}

// A Place is that of one entry. Its owner sets the fields.
type Place struct {
	Key     keyspace.Key
	Dir     string // the lock's directory
	Name    string // the entry's key
	Rev     int64  // its create revision; 0 until known
	Mod     int64  // the revision at which its record was last put; who puts it again sets this, but not who tells it its turn
	LeaseID int64
	record.Claim

	cfg      *Config
	asOf     int64   // a revision of etcd
	ahead    []rival // the entries ahead then, the nearest first; none if all of them leave the entry its room
	complete bool    // there are no others
	n        int     // how many are ahead; 0 if that is not known

	followers record.Followers // directly behind the entry, as far as known
	coming    *coming          // a read of them that is under way, or nil
}

// A rival is an entry ahead that takes something of the room of the place's own.
type rival struct {
	*mvccpb.KeyValue
	takes int
}

const (
	// Nearby is how many entries ahead are asked for, besides as many as there are slots, and how many are followed by one watch.
	Nearby = 8
	// nearbyShared is how many are asked for by one that shares the lock. Most of them share it, too, and are not ahead of it.
	nearbyShared = 128
)

// Asks is how many entries ahead are asked for. Of slots they take more than there are, if they are not all.
func (p *Place) Asks() int {
	if p.Shared {
		return nearbyShared
	}
	return p.Slots + Nearby
}

// New returns a place whose fields are to be set.
func New(cfg *Config) Place { return Place{cfg: cfg} }

// ErrDisplaced says that the entry was deleted by somebody else.
var ErrDisplaced = errors.New("locker: queue entry was deleted")

// First reports whether the entry was the first in the queue when that was last looked at, or found its slots free.
func (p *Place) First() bool {
	return p.Rev != 0 && p.complete && len(p.ahead) == 0
}

// Nearest returns the nearest entry ahead that is known, or nil.
func (p *Place) Nearest() *mvccpb.KeyValue {
	if len(p.ahead) == 0 {
		return nil
	}
	return p.ahead[0].KeyValue
}

// Find returns an entry ahead of which is is true, the nearest that is known, or nil.
func (p *Place) Find(is func(*mvccpb.KeyValue) bool) *mvccpb.KeyValue {
	for _, o := range p.ahead {
		if is(o.KeyValue) {
			return o.KeyValue
		}
	}
	return nil
}

// Ahead returns how many are ahead, 0 if that is not known.
func (p *Place) Ahead() int { return p.n }

// Only reports whether the nearest is the only one ahead, as far as p knows.
func (p *Place) Only() bool { return len(p.ahead) == 1 }

// ForgetAhead forgets how many are ahead: not all of them are known.
func (p *Place) ForgetAhead() { p.n = 0 }

// Lead notes that nobody is ahead as of the revision rev.
func (p *Place) Lead(rev int64) { p.asOf, p.ahead, p.complete, p.n = rev, nil, true, 0 }

// Behind notes one that is ahead as of the revision rev, and how many are there, 0 if
// that is not known: nothing else is known of those ahead.
func (p *Place) Behind(rev int64, other *mvccpb.KeyValue, n int) {
	p.asOf, p.ahead, p.complete, p.n = rev, []rival{{other, 1}}, false, n
}

// Note notes the nearest keys ahead as of the revision rev. more is how many others are
// ahead; below 0, there are some, and it is not known how many. Keys without a lease do
// not count, nor do those that take nothing from the entry, see record.Claim.
func (p *Place) Note(rev int64, nearest []*mvccpb.KeyValue, more int) {
	p.asOf, p.complete, p.n, p.ahead = rev, more == 0, len(nearest)+more, nil
	taken := 0
	if nearest = record.Entries(nearest); len(nearest) > 0 {
		p.ahead = make([]rival, 0, len(nearest))
	}
	for _, kv := range nearest {
		if takes := p.Taken(kv); takes > 0 {
			p.ahead, taken = append(p.ahead, rival{kv, takes}), taken+takes
		}
	}
	switch {
	case p.complete && taken <= p.Room():
		p.ahead, p.n = nil, 0
	case p.complete:
		p.n = len(p.ahead)
	case more < 0:
		p.n = 0
	}
	if p.Shared && len(p.ahead) > Nearby { // it asked for many, and follows few
		p.ahead, p.complete = slices.Clone(p.ahead[:Nearby]), false
	}
}

// behind reports whether the entry surely does not hold while the known ones ahead take so much. Where there are others, it says
// no a little early: so all of them are known when the entry's turn comes, and it need not read then.
func (p *Place) behind(taken int) bool {
	if p.Slots > 0 && !p.complete {
		return taken > p.Room()+Nearby/2
	}
	return taken > p.Room()
}

// Look finds the place anew. It tries until ctx ends. It fails with ErrDisplaced if the
// entry is gone.
func (p *Place) Look(ctx context.Context) error { return p.cfg.Etcd.Persist(ctx, p.LookOnce) }

// LookOnce is Look with one try. One that is far back also reads who is behind it, whom it may tell their turns.
func (p *Place) LookOnce(ctx context.Context) error {
	followers := p.takesTurns()
	before := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithMaxCreateRev(p.Rev - 1),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend)}
	ops := []clientv3.Op{
		clientv3.OpGet(p.Name), // whole: a key alone comes without its lease
		clientv3.OpGet(p.Dir, append(before, clientv3.WithLimit(int64(1+p.Asks())))...),
	}
	if followers {
		ops = append(ops, p.getFollowers())
	}
	seen, err := p.cfg.Batch.Commit(ctx, batch.Txn{Key: p.Key, ExpectSuccess: true, Then: ops})
	if err != nil {
		return err
	}
	own := seen.KVs(0)
	if len(own) == 0 || !p.Is(own[0]) {
		return ErrDisplaced
	}
	if followers {
		p.followers = record.FollowersOf(p.Dir, seen.KVs(2))
	}
	if record.TurnOf(own[0]) != nil {
		p.Mod = own[0].ModRevision
	}
	ahead := seen.KVs(1)
	more := 0
	if len(ahead) > p.Asks() {
		more = -1
	}
	p.Note(seen.Revision, ahead, more)
	taken := 0
	for _, o := range p.ahead {
		taken += o.takes
	}
	if p.complete || p.behind(taken) {
		return nil
	}
	// All of the nearest share the lock, as this one does, or are no entries: read the whole queue.
	all, err := p.cfg.Etcd.Read(ctx, clientv3.OpGet(p.Dir, before...))
	if err != nil {
		return err
	}
	p.Note(p.asOf, all.Responses[0].GetResponseRange().Kvs, 0)
	return nil
}

// lookAtNearest finds out whether the nearest entry ahead, and the entry itself, are still there. It reports false where the place is
// to be found anew.
func (p *Place) lookAtNearest(ctx context.Context) (there bool, err error) {
	nearest := p.Nearest()
	seen, err := p.cfg.Batch.Commit(ctx, batch.Txn{Key: p.Key, Then: []clientv3.Op{clientv3.OpGet(p.Name), clientv3.OpGet(string(nearest.Key))}, ExpectSuccess: true})
	if err != nil {
		return false, err
	}
	own, now := seen.KVs(0), record.Entries(seen.KVs(1))
	there = len(own) > 0 && p.Is(own[0]) && len(now) > 0 && same(now[0], nearest) && p.Taken(now[0]) > 0
	if there {
		p.asOf = seen.Revision
	}
	return there, nil
}

// Contended reports whether somebody may wait behind the entry to hold the lock alone, or it may be gone.
func (p *Place) Contended(ctx context.Context) bool {
	resp, err := p.cfg.Etcd.Read(ctx,
		clientv3.OpGet(p.Name),
		clientv3.OpGet(p.Dir, clientv3.WithPrefix(), clientv3.WithMinCreateRev(p.Rev+1)),
	)
	if err != nil {
		return true
	}
	own, behind := resp.Responses[0].GetResponseRange().Kvs, resp.Responses[1].GetResponseRange().Kvs
	return len(own) == 0 || !p.Is(own[0]) || slices.ContainsFunc(record.Entries(behind), record.Alone)
}

// Is reports whether kv is the entry. Written over by hand, without the lease, it is nobody's.
func (p *Place) Is(kv *mvccpb.KeyValue) bool {
	return kv.CreateRevision == p.Rev && kv.Lease == p.LeaseID
}
