package calls

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/clock"
	"github.com/phpgao/elock/internal/etcderr"
	"github.com/phpgao/elock/internal/health"
	"github.com/phpgao/elock/internal/watchstream"
	"github.com/phpgao/elock/internal/xctx"
)

const (
	// Grace is how long a clean-up outlives the context of its caller.
	Grace = 500 * time.Millisecond
	// Patience bounds each wait for etcd that no caller's context bounds.
	Patience = 5 * time.Second
	// FirstPause is the first pause before something is tried again.
	FirstPause = 50 * time.Millisecond
	// hedge is when a call is sent again, to another member, while some member
	// seems to swallow everything.
	hedge = 100 * time.Millisecond
	// hedging is for how long calls are hedged after a sign of such a member.
	hedging = 10 * time.Second
)

// A Client calls etcd. Its methods may be called from several goroutines.
type Client struct {
	client  *clientv3.Client
	kv      clientv3.KV
	lease   clientv3.Lease
	tries   *xctx.Limiter
	unheard error
	heard   health.Signal
	silent  atomic.Int64 // when a call was last not answered, by the monotonic clock; 0: never
}

// New returns a Client that uses the KV and the Lease of client as they are now.
// unheard is the cause of contexts that end because etcd does not answer: it is
// returned as it is.
func New(client *clientv3.Client, unheard error) *Client {
	c := &Client{
		client:  client,
		kv:      client.KV,
		tries:   xctx.NewLimiter(context.Background()),
		unheard: unheard,
	}
	c.lease = leaser{client.Lease, c}
	return c
}

// Txn sends a transaction once. It reports whether it was sent to two members:
// then the other one may have been carried out, too.
func (c *Client) Txn(ctx context.Context, cmps []clientv3.Cmp, then, els []clientv3.Op) (resp *clientv3.TxnResponse, twice bool, err error) {
	ctx = watchstream.Own(ctx)
	sent := clock.Mono()
	if at := c.silent.Load(); at != 0 && sent-at <= int64(hedging) {
		return c.hedged(ctx, sent, cmps, then, els)
	}
	resp, err = c.commit(ctx, cmps, then, els)
	c.hear(sent, err)
	return resp, false, err
}

// hedged is Txn while some member does not answer.
func (c *Client) hedged(ctx context.Context, sent int64, cmps []clientv3.Cmp, then, els []clientv3.Op) (*clientv3.TxnResponse, bool, error) {
	var open atomic.Bool // the outcome of one of two is
	resp, twice, second, err := xctx.Twice(ctx, hedge, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		resp, err := c.commit(ctx, cmps, then, els)
		if err != nil && !etcderr.Refused(err) {
			open.Store(true)
		}
		return resp, err
	})
	c.hear(sent, err)
	if second && err == nil {
		c.NoteSilence()
	}
	if err != nil && open.Load() {
		err = batch.Open(err) // though it may be the refusal of the other one
	}
	return resp, twice, err
}

func (c *Client) commit(ctx context.Context, cmps []clientv3.Cmp, then, els []clientv3.Op) (*clientv3.TxnResponse, error) {
	resp, err := c.kv.Txn(ctx).If(cmps...).Then(then...).Else(els...).Commit()
	return resp, etcderr.Of(c.client, err)
}

// NoteSilence notes that some member does not answer.
func (c *Client) NoteSilence() { c.silent.Store(clock.Mono()) }

// Read reads in one transaction, once.
func (c *Client) Read(ctx context.Context, ops ...clientv3.Op) (*clientv3.TxnResponse, error) {
	resp, _, err := c.Txn(ctx, nil, ops, nil)
	return resp, err
}

// Trying returns a context for calls that end with ctx. The caller must stop it.
func (c *Client) Trying(ctx context.Context) *xctx.Grace {
	return &xctx.Grace{Caller: ctx, Limits: c.tries, Limit: c.tries.Within(0), Silent: &c.silent}
}

// Entering returns a context for writes of an entry under a lease that ends when
// limits say. It outlives ctx by half a grace: a write that is cancelled on its way
// may commit after it was looked for, so its answer is waited for a little. The
// clean-up gets the other half.
func (c *Client) Entering(ctx context.Context, limits *xctx.Limiter) *xctx.Grace {
	return &xctx.Grace{Caller: ctx, Limits: limits, Limit: limits.Within(0), Grace: Grace / 2, Silent: &c.silent}
}

// Detached returns a context with the values of ctx that outlives it by Grace,
// and ends after Patience.
func (c *Client) Detached(ctx context.Context) *xctx.Grace {
	return &xctx.Grace{Caller: ctx, Grace: Grace, Limits: c.tries, Limit: c.tries.Within(0), Total: Patience, Silent: &c.silent}
}

// Persist calls f until it succeeds or fails for good, or ctx ends: then the error
// matches that of ctx, too.
func (c *Client) Persist(ctx context.Context, f func(ctx context.Context) error) error {
	g := c.Trying(ctx)
	defer g.Stop()
	err := Retry(g, f)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", xctx.Err(ctx, c.unheard), err)
	}
	return err
}

// Retry calls f until it succeeds or fails for good, or g ends: see Grace.Persist.
func Retry(g *xctx.Grace, f func(ctx context.Context) error) error { return g.Persist(f, passes) }

func passes(err error) bool {
	return errors.Is(err, batch.ErrNoAnswer) || errors.Is(err, batch.ErrTogether) || etcderr.Passing(err)
}

// LeaseGone reports whether etcd says that a lease is gone. It asks until etcd
// answers or ctx is done.
func (c *Client) LeaseGone(ctx context.Context, id clientv3.LeaseID) bool {
	for wait := xctx.FirstPause; ctx.Err() == nil; wait = xctx.Pause(ctx, wait) {
		try, cancel := context.WithTimeout(watchstream.Own(ctx), Grace)
		resp, err := c.lease.TimeToLive(try, id)
		cancel()
		if err == nil {
			return resp.GrantedTTL == 0 // of a lease that lives, less than a second may be left: 0
		}
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return true
		}
	}
	return false
}
