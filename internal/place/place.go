package place

import (
	"context"
	"errors"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/feed"
	"github.com/phpgao/elock/internal/record"
)

// A Config is what places work with.
type Config struct {
	Etcd  *calls.Client
	Feeds *feed.Hub
	Puts  bool // the feeds of directories tell of new entries, too
}

// A Place is that of one entry. Its owner sets the fields.
type Place struct {
	Dir     string // the lock's directory
	Name    string // the entry's key
	Rev     int64  // its create revision; 0 until known
	LeaseID int64
	Shared  bool // the entry shares the lock with others that do

	cfg      *Config
	asOf     int64              // a revision of etcd
	ahead    []*mvccpb.KeyValue // the entries ahead then, the nearest first
	complete bool               // there are no others
	n        int                // how many are ahead; 0 if that is not known
}

// Nearby is how many entries ahead are asked for.
const Nearby = 8

// New returns a place whose fields are to be set.
func New(cfg *Config) Place { return Place{cfg: cfg} }

// ErrDisplaced says that the entry was deleted by somebody else.
var ErrDisplaced = errors.New("locker: queue entry was deleted")

// First reports whether the entry was the first in the queue when that was last looked at.
func (p *Place) First() bool {
	return p.Rev != 0 && p.complete && len(p.ahead) == 0
}

// Nearest returns the nearest entry ahead that is known, or nil.
func (p *Place) Nearest() *mvccpb.KeyValue {
	if len(p.ahead) == 0 {
		return nil
	}
	return p.ahead[0]
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
	p.asOf, p.ahead, p.complete, p.n = rev, []*mvccpb.KeyValue{other}, false, n
}

// Note notes the nearest keys ahead as of the revision rev. more is how many others are
// ahead; below 0, there are some, and it is not known how many. Keys without a lease do
// not count. For an entry that shares the lock, others that share it do not count.
func (p *Place) Note(rev int64, nearest []*mvccpb.KeyValue, more int) {
	p.asOf, p.complete, p.n = rev, more == 0, len(nearest)+more
	p.ahead = record.Entries(nearest)
	if p.Shared {
		p.ahead = slices.DeleteFunc(p.ahead, func(kv *mvccpb.KeyValue) bool { return !record.Alone(kv) })
	}
	switch {
	case p.complete:
		p.n = len(p.ahead)
	case more < 0:
		p.n = 0
	}
}

// Look finds the place anew. It tries until ctx ends. It fails with ErrDisplaced if the
// entry is gone.
func (p *Place) Look(ctx context.Context) error { return p.cfg.Etcd.Persist(ctx, p.LookOnce) }

// LookOnce is Look with one try.
func (p *Place) LookOnce(ctx context.Context) error {
	before := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithMaxCreateRev(p.Rev - 1),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend)}
	resp, err := p.cfg.Etcd.Read(ctx,
		clientv3.OpGet(p.Name), // whole: a key alone comes without its lease
		clientv3.OpGet(p.Dir, append(before, clientv3.WithLimit(1+Nearby))...),
	)
	if err != nil {
		return err
	}
	own := resp.Responses[0].GetResponseRange().Kvs
	if len(own) == 0 || !p.Is(own[0]) {
		return ErrDisplaced
	}
	ahead := resp.Responses[1].GetResponseRange().Kvs
	more := 0
	if len(ahead) > Nearby {
		more = -1
	}
	p.Note(resp.Header.Revision, ahead, more)
	if p.complete || len(p.ahead) > 0 {
		return nil
	}
	// All of the nearest share the lock, as this one does: read the whole queue.
	all, err := p.cfg.Etcd.Read(ctx, clientv3.OpGet(p.Dir, before...))
	if err != nil {
		return err
	}
	p.Note(p.asOf, all.Responses[0].GetResponseRange().Kvs, 0)
	return nil
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
