package locker

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/keyspace"
)

// takeFree acquires keys in one transaction if all of them are free, here and in
// etcd, and adds the holds to g. Otherwise, and after any error of etcd, it adds
// none; nor does it try if others wanted one of them a moment ago. The keys are
// then to be acquired one by one. Its own errors are those of
// ctx, of the lease, and of a hold that ended before it began.
func (l *Locker) takeFree(ctx context.Context, g *group, opts []AcquireOption, keys []keyspace.Key) error {
	r, err := l.request(opts)
	occupied := func(key keyspace.Key) bool { return !l.lanes.vacant(key) || l.watched(key.Path(l.prefix)) }
	if err != nil || r.shared || !l.batch.takes(len(keys)+len(r.reads)) || slices.ContainsFunc(keys, occupied) {
		return nil
	}
	var claims []*claim // that nothing else sees to
	asked := make([]asking, len(keys))
	for i, key := range keys {
		asked[i] = l.ask(ctx, key, true, r)
	}
	left := asked // those that are not answered
	defer func() {
		for i := range left {
			left[i].answered(nil, cmp.Or(err, errUnwanted)) // that if a callback panics
		}
		abandon(err, claims...)
	}()
	s, err := l.use(ctx, r.seconds)
	if err != nil {
		return &Error{Op: "acquire", Key: keys[0].String(), Err: err}
	}
	defer s.part()
	for i := range asked {
		a := &asked[i]
		if !l.lanes.seize(a.key, a.who) {
			err = ErrLocked
			break
		}
		s.join()
		want := r
		if i < len(keys)-1 {
			want.reads = nil
		}
		claims = append(claims, l.newClaim(a.key, s, a.who, want))
	}
	if err == nil {
		err = putAll(ctx, claims)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctxError(ctx)
			return &Error{Op: "acquire", Key: keys[0].String(), Err: err}
		}
		return nil
	}
	for i := range asked {
		a, c := &asked[i], claims[0]
		left, claims = left[1:], claims[1:]
		a.answered(c, nil)
		var h *Hold
		if h, err = l.begin(a.ctx, c, r, a.waited); err != nil {
			return &Error{Op: "acquire", Key: a.key.String(), Err: err}
		}
		g.holds = append(g.holds, h)
	}
	return nil
}

// putAll puts the entries of claims, which have one lease, if all their queues
// are empty. On failure each claim's sent tells whether anything may be in etcd.
func putAll(ctx context.Context, claims []*claim) error {
	first, last := claims[0], claims[len(claims)-1]
	l, s := first.l, first.lease
	t := txn{key: first.key}
	for _, c := range claims {
		c.sent = true
		t.others = append(t.others, c.key)
		t.cmps = append(t.cmps, c.unclaimed())
		t.then = append(t.then, c.entry(c.lease.put))
		t.els = append(t.els, clientv3.OpGet(c.name))
	}
	t.then = append(t.then, gets(last.reads)...)
	// As in obtain: what is cancelled on its way may commit late.
	write := &late{caller: ctx, limit: s.writes, grace: grace / 2}
	defer write.stop()
	a, err := l.batch.commit(write, t)
	switch {
	case err == nil && !a.succeeded:
		err = ErrLocked
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		s.lose(LeaseExpired)
	}
	if err != nil {
		l.batch.learn(err, len(t.then))
		for i, c := range claims {
			c.sent = !refused(err)
			if err == ErrLocked { // it is in etcd only if some layer below has sent this twice
				c.sent = len(a.kvs(i)) > 0 && c.wrote(a.kvs(i)[0])
			}
		}
		return err
	}
	for i, c := range claims {
		mine := a.responses[i : i+1]
		if c == last {
			mine = a.responses[i:]
		}
		err = errors.Join(err, c.leads(answer{true, false, a.rev, mine}))
	}
	for _, c := range claims {
		if err == nil {
			err = c.check(ctx)
		}
	}
	return err
}
