package locker

import (
	"cmp"
	"context"
	"slices"

	"github.com/phpgao/elock/internal/entry"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

// takeFree acquires keys in one transaction if all of them are free, here and in
// etcd, and adds the holds to g. It adds none if they are not, if others wanted one of
// them a moment ago, or after an error of etcd: then the caller acquires the keys one by
// one. It fails if ctx ends, if no lease is granted, or if a hold ends before it began.
func (l *Locker) takeFree(ctx context.Context, g *HoldSet, opts []AcquireOption, keys []keyspace.Key) error {
	r, err := l.request(opts)
	occupied := func(key keyspace.Key) bool { return !l.entries.Lanes.Vacant(key) || l.feeds.Has(key.Path(l.prefix)) }
	if err != nil || r.Claim != (record.Claim{}) || !l.batch.Fits(len(keys)+len(r.Reads)) || slices.ContainsFunc(keys, occupied) {
		return nil
	}
	var entries []*entry.Entry // without a hold yet: to be abandoned if this fails
	asked := make([]attempt, 0, len(keys))
	defer func() {
		err := cmp.Or(err, entry.ErrUnwanted) // that if a callback panics
		defer func() { entry.Abandon(err, entries...) }()
		for i := range asked {
			defer asked[len(asked)-1-i].answered(err) // each, even if a hook ends the goroutine
		}
	}()
	for _, key := range keys {
		asked = append(asked, attempt{l: l, key: key})
		asked[len(asked)-1].start(ctx, true, r)
	}
	s, err := l.use(ctx, r.Seconds)
	if err != nil {
		return &Error{Op: "acquire", Key: keys[0].String(), Err: err}
	}
	defer s.Part()
	callers := make([]entry.Caller, len(keys))
	for i := range asked {
		callers[i] = asked[i].as
	}
	entries, err = l.entries.Seize(ctx, s, keys, callers)
	if err != nil {
		if ctx.Err() != nil {
			err = l.entries.Failure(ctx, err)
			return &Error{Op: "acquire", Key: keys[0].String(), Err: err}
		}
		return nil
	}
	for i := range asked {
		a := &asked[i]
		a.grant = entry.Grant{Entry: entries[0], Read: entries[0].TakeRead()}
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
