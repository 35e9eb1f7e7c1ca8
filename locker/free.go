package locker

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

// takeFree acquires keys in one transaction if all of them are free, here and in
// etcd, and adds the holds to g. It adds none if they are not, if others wanted one of
// them a moment ago, or after an error of etcd: then the caller acquires the keys one by
// one. It fails if ctx ends, if no lease is granted, or if a hold ends before it began.
func (l *Locker) takeFree(ctx context.Context, g *HoldSet, opts []AcquireOption, keys []keyspace.Key) error {
	r, err := l.request(opts)
	occupied := func(key keyspace.Key) bool { return !l.lanes.Vacant(key) || l.feeds.Has(key.Path(l.prefix)) }
	if err != nil || r.Claim != (record.Claim{}) || !l.batch.Fits(len(keys)+len(r.reads)) || slices.ContainsFunc(keys, occupied) {
		return nil
	}
	var entries []*entry // without a hold yet: to be abandoned if this fails
	asked := make([]attempt, 0, len(keys))
	defer func() {
		err := cmp.Or(err, errUnwanted) // errUnwanted if a callback panics
		defer func() { abandon(err, entries...) }()
		for i := range asked {
			defer asked[len(asked)-1-i].answered(err) // each, even if a hook ends the goroutine
		}
	}()
	for _, key := range keys {
		asked = append(asked, attempt{l: l, key: key})
		asked[len(asked)-1].start(ctx, true, r)
	}
	s, err := l.use(ctx, r.seconds)
	if err != nil {
		return &Error{Op: "acquire", Key: keys[0].String(), Err: err}
	}
	defer s.Part()
	for i := range asked {
		a := &asked[i]
		if !l.lanes.Seize(a.key, caller{who: a.who, want: r}) {
			err = ErrLocked
			break
		}
		s.Join()
		want := r
		if i < len(keys)-1 {
			want.reads = nil
		}
		entries = append(entries, l.newEntry(a.key, s, caller{who: a.who, want: want}))
	}
	if err == nil {
		err = l.enterAll(ctx, entries)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = l.acquireError(ctx, err)
			return &Error{Op: "acquire", Key: keys[0].String(), Err: err}
		}
		return nil
	}
	for i := range asked {
		a := &asked[i]
		a.grant = grant{entry: entries[0], token: entries[0].token(), read: entries[0].takeRead()}
		a.answered(nil)
		entries = entries[1:]
		var h *Hold
		if h, err = a.begin(r); err != nil {
			return &Error{Op: "acquire", Key: a.key.String(), Err: err}
		}
		g.holds = append(g.holds, h)
	}
	return nil
}

// enterAll puts entries of one lease into their queues if all of these are empty, and
// returns why they cannot all be held, if so.
func (l *Locker) enterAll(ctx context.Context, entries []*entry) error {
	all := make([]*queue.Entry, len(entries))
	for i, e := range entries {
		all[i] = &e.Entry
	}
	switch err := l.queues.EnterAll(ctx, all); {
	case errors.Is(err, queue.ErrTaken):
		return ErrLocked
	case err != nil:
		return err
	}
	for _, e := range entries {
		if err := e.check(ctx); err != nil {
			return err
		}
	}
	return nil
}
