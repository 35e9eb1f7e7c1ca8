package linger

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/feed"
	"github.com/phpgao/elock/internal/place"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/internal/xctx"
)

// Config says what Stays work with. All fields must be set.
type Config struct {
	Etcd   *calls.Client
	Queues *queue.Set // deletes entries
	Feeds  *feed.Hub  // tells when they go

	// Drain ends when the process is about to end: then nothing is waited for. Grants ends when it grants no more leases, and Base
	// with the process. They are for Outlast.
	Drain, Grants, Base context.Context
}

// A Stay is an entry that is to stay until a moment. It belongs to one goroutine at a time.
type Stay struct {
	cfg   *Config
	entry *queue.Entry
	until time.Time
	value string

	leases []clientv3.LeaseID // granted for it; it moves under the last one
	asOf   int64              // a revision at which it was there
}

// retry is the pause after an error that does not pass.
const retry = time.Second

// Stay returns a Stay of an entry whose lock is held, or was until now. It sends nothing.
func (c *Config) Stay(e *queue.Entry, until time.Time) *Stay {
	r := e.Record()
	r.Until = until.Round(0).UTC()
	return &Stay{cfg: c, entry: e, until: until, value: string(r.Encode())}
}

// Left is how long the entry is to stay yet.
func (s *Stay) Left() time.Duration { return time.Until(s.until) }

// Grant grants a lease for the entry, under which it is to move from now on. The lease lasts for what is left, in whole
// seconds, and no less than a minimum. It tries until ctx ends.
func (s *Stay) Grant(ctx context.Context, minimum time.Duration) error {
	return s.cfg.Etcd.Persist(ctx, func(ctx context.Context) error { return s.grant(ctx, minimum) })
}

func (s *Stay) grant(ctx context.Context, minimum time.Duration) error {
	left := max(s.Left(), minimum, 1)
	granted, err := s.cfg.Etcd.Lease().Grant(ctx, int64((left-1)/time.Second)+1)
	if err == nil {
		s.leases = append(s.leases, granted.ID)
	}
	return err
}

// lease is the one under which the entry moves.
func (s *Stay) lease() clientv3.LeaseID { return s.leases[len(s.leases)-1] }

// Held are comparisons which say that the entry is where it joined the queue, and has not moved.
func (s *Stay) Held() []clientv3.Cmp {
	return []clientv3.Cmp{
		record.Created(s.entry.Name, s.entry.Rev),
		clientv3.Compare(clientv3.LeaseValue(s.entry.Name), "=", s.entry.Lease.ID()),
	}
}

// Put moves the entry to the lease that was granted last, if Held says that it may.
func (s *Stay) Put() clientv3.Op {
	return clientv3.OpPut(s.entry.Name, s.value, clientv3.WithLease(s.lease()))
}

// Moved notes that a transaction of the caller has moved the entry, at that revision.
func (s *Stay) Moved(rev int64) { s.asOf = rev }

// Move moves the entry, unless it has moved already. It tries until ctx ends. The error is place.ErrDisplaced if the entry is gone.
// After another one it may have moved, or may yet; it may be repeated.
func (s *Stay) Move(ctx context.Context) error {
	_, err := s.move(ctx)
	return err
}

// move is Move, and returns the lease under which the entry is then.
func (s *Stay) move(ctx context.Context) (under clientv3.LeaseID, err error) {
	if len(s.leases) == 0 {
		if err := s.Grant(ctx, 0); err != nil {
			return 0, err
		}
	}
	err = s.cfg.Etcd.Persist(ctx, func(ctx context.Context) (err error) {
		under, err = s.moveOnce(ctx)
		if errors.Is(err, rpctypes.ErrLeaseNotFound) { // that took too long
			if err = s.grant(ctx, 0); err == nil {
				under, err = s.moveOnce(ctx)
			}
		}
		return err
	})
	if errors.Is(err, place.ErrDisplaced) {
		err = place.ErrDisplaced
	}
	return under, err
}

func (s *Stay) moveOnce(ctx context.Context) (under clientv3.LeaseID, err error) {
	resp, _, err := s.cfg.Etcd.Txn(ctx, s.Held(), []clientv3.Op{s.Put()}, []clientv3.Op{clientv3.OpGet(s.entry.Name)})
	if err != nil {
		return 0, err
	}
	s.asOf = resp.Header.Revision
	if resp.Succeeded {
		return s.lease(), nil
	}
	// An earlier try may have moved it.
	kvs := resp.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 0 || kvs[0].CreateRevision != s.entry.Rev || !slices.Contains(s.leases, clientv3.LeaseID(kvs[0].Lease)) {
		return 0, place.ErrDisplaced
	}
	return clientv3.LeaseID(kvs[0].Lease), nil
}

// Committed reports whether a transaction with Held and Put was carried out, and whether that is known. If it was not, it is not
// carried out any more: the entry has moved, or is gone. It asks until ctx ends.
func (s *Stay) Committed(ctx context.Context) (done, known bool) {
	of := s.lease()
	if s.Grant(ctx, 0) != nil {
		return false, false
	}
	under, err := s.move(ctx)
	switch {
	case err == nil:
		return under == of, true
	case err != place.ErrDisplaced:
		return false, false
	}
	ev, _, err := s.cfg.Queues.Deletion(ctx, s.entry.Name, s.entry.Rev+1)
	if err != nil || ev.PrevKv == nil {
		return false, false
	}
	last := clientv3.LeaseID(ev.PrevKv.Lease)
	return last == of, last == s.entry.Lease.ID() || slices.Contains(s.leases, last)
}

// Settle moves the entry, and tries again while there is time left, whatever etcd says. It gives up when ctx ends; and after an error
// that does not pass, which failed takes, when stop ends. The error is as that of Move.
func (s *Stay) Settle(ctx, stop context.Context, failed func(error)) error {
	under, cancel := context.WithDeadline(ctx, s.until)
	defer cancel()
	for {
		err := s.Move(under)
		if err == nil || err == place.ErrDisplaced || under.Err() != nil {
			return err
		}
		failed(err)
		xctx.Pause(stop, retry)
		if stop.Err() != nil {
			return err
		}
	}
}

// Outlast moves the entry, unless moved says that it has moved, and keeps it until there is no time left, it is gone, or Drain ends.
// Unless Drain has ended, it removes it then. failed takes errors after which it tries again.
//
// settled is called when etcd knows that the entry stays, or when it is clear that it does not. Before that, early takes the reason
// why the entry goes before its time, if it does so with the process.
func (s *Stay) Outlast(moved bool, failed, early func(error), settled func()) {
	cfg := s.cfg
	var err error
	if !moved {
		err = s.Settle(cfg.Grants, cfg.Drain, failed)
	}
	if err == nil {
		settled()
		s.Wait(cfg.Drain)
	} else {
		defer settled()
	}
	switch {
	case cfg.Drain.Err() == nil && err == nil:
		_ = s.End(cfg.Base) // otherwise it expires
	case cfg.Drain.Err() == nil:
		s.remove()
	case err != nil && err != place.ErrDisplaced && s.Left() > 0:
		early(err)
	}
}

// remove ends an entry that has not moved: until Drain ends or its lease, which others use, it is tried again whatever etcd says.
func (s *Stay) remove() {
	for s.End(s.cfg.Base) != nil && s.entry.Lease.Context().Err() == nil && s.cfg.Drain.Err() == nil {
		xctx.Pause(s.cfg.Drain, retry)
	}
}

// Wait waits until there is no time left, the entry is gone, or stop ends.
func (s *Stay) Wait(stop context.Context) {
	f := s.cfg.Feeds.Open(s.entry.Name, clientv3.WithFilterPut())
	defer f.Close()
	over := time.NewTimer(s.Left())
	defer over.Stop()
	for {
		var gone, unsure bool
		var changed <-chan struct{}
		f.Read(func(is feed.State) {
			gone, unsure, changed = is.Deleted(s.entry.Name) > s.entry.Rev, is.Since > s.asOf, is.Changed
		})
		var again <-chan time.Time
		if unsure && !gone { // it may have gone before the watch was in place
			var err error
			if gone, err = s.gone(stop); err != nil {
				again = time.After(retry)
			}
		}
		if gone {
			return
		}
		select {
		case <-changed:
		case <-again:
		case <-over.C:
			return
		case <-stop.Done():
			return
		}
	}
}

// gone reads whether the entry is gone.
func (s *Stay) gone(ctx context.Context) (bool, error) {
	try, cancel := context.WithTimeout(ctx, xctx.Patience(0))
	defer cancel()
	resp, err := s.cfg.Etcd.Read(try, clientv3.OpGet(s.entry.Name))
	if err != nil {
		return false, err
	}
	s.asOf = resp.Header.Revision
	kvs := resp.Responses[0].GetResponseRange().Kvs
	return len(kvs) == 0 || kvs[0].CreateRevision != s.entry.Rev, nil
}

// End removes the entry, and the leases that were granted for it. It tries until ctx ends, or etcd refuses.
func (s *Stay) End(ctx context.Context) error {
	err := s.cfg.Etcd.Persist(ctx, func(ctx context.Context) error {
		_, _, err := s.cfg.Queues.Delete(ctx, s.entry.Key, s.entry.Name, s.entry.Rev)
		return err
	})
	for _, id := range s.leases {
		try, cancel := context.WithTimeout(ctx, xctx.Patience(0))
		_, _ = s.cfg.Etcd.Lease().Revoke(try, id) // otherwise it expires
		cancel()
	}
	return err
}
