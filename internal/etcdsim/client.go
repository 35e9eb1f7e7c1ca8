package etcdsim

import (
	"context"
	"path"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

var (
	errUnimplemented = status.Error(codes.Unimplemented, "etcdsim: not modelled")
	errStopped       = status.Error(codes.Unavailable, "etcdserver: server stopped")
	errDisconnected  = status.Error(codes.Unavailable, "error reading from server: EOF")
	errClosed        = status.Error(codes.Canceled, "grpc: the client connection is closing")
)

// minFailure is how long a failed call takes at least: etcd's client repeats some at once, and virtual time must go on.
const minFailure = 10 * time.Millisecond

// A Client is the etcd client of one process, on a network path of its own. Of the parts of a clientv3.Client it has KV,
// Lease and Watcher.
type Client struct {
	*clientv3.Client
	sim  *Sim
	name string

	mu      sync.Mutex
	plan    Plan // nil for the Sim's
	cut     bool
	pauses  int
	open    chan struct{} // closed while messages pass
	streams []*stream
	token   string
	logins  int
}

// NewClient returns a new client. The name shows in each Call, and with the Sim's seed it makes the random faults.
func (s *Sim) NewClient(name string) *Client {
	c := &Client{
		Client: clientv3.NewCtxClient(s.ctx),
		sim:    s,
		name:   name,
		open:   make(chan struct{}),
	}
	close(c.open)
	t := (*transport)(c)
	c.KV = clientv3.NewKVFromKVClient(pb.NewKVClient(t), c.Client)
	c.Lease = leaser{clientv3.NewLeaseFromLeaseClient(pb.NewLeaseClient(t), c.Client, time.Second), t}
	c.Watcher = clientv3.NewWatchFromWatchClient(pb.NewWatchClient(t), c.Client)
	s.clientsMu.Lock()
	defer s.clientsMu.Unlock()
	s.clients = append(s.clients, c)
	return c
}

// A leaser is a client's Lease that also offers a stream of renewals, for a program that keeps one open itself.
type leaser struct {
	clientv3.Lease
	t *transport
}

// KeepAliveStream opens a stream of renewals. It ends with ctx, and with an error that breaks it.
func (l leaser) KeepAliveStream(ctx context.Context) (pb.Lease_LeaseKeepAliveClient, error) {
	return pb.NewLeaseClient(l.t).LeaseKeepAlive(ctx)
}

// WatchStream opens a stream of watches past Watcher, as a program does that keeps one open itself. It ends with ctx, and with an
// error that breaks it.
func (c *Client) WatchStream(ctx context.Context) (pb.Watch_WatchClient, error) {
	return pb.NewWatchClient((*transport)(c)).Watch(ctx)
}

// A streamingWatcher is a client's Watcher that also offers a stream of watches.
type streamingWatcher struct {
	clientv3.Watcher
	c *Client
}

func (w streamingWatcher) WatchStream(ctx context.Context) (pb.Watch_WatchClient, error) {
	return w.c.WatchStream(ctx)
}

// OfferWatchStreams makes c's Watcher offer streams of watches.
func (c *Client) OfferWatchStreams() { c.Watcher = streamingWatcher{c.Watcher, c} }

// A transport is a Client as the code generated from etcd's protobufs sees it.
type transport Client

// Invoke makes a unary call.
func (t *transport) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	c := (*Client)(t)
	if err := c.ended(ctx); err != nil {
		return err
	}
	req := args.(proto.Message)
	resp, err := c.unary(ctx, path.Base(method), req)
	if err != nil {
		if ended := c.sleep(ctx, minFailure); ended != nil {
			return ended
		}
		return err
	}
	proto.Merge(reply.(proto.Message), resp) // a copy: what is stored must not be shared
	return nil
}

// unary makes a call, and once more after each login that its failure asks for.
func (c *Client) unary(ctx context.Context, method string, req proto.Message) (proto.Message, error) {
	for try := 1; ; try++ {
		resp, err := c.call(ctx, req, c.currentToken(), c.fate(Call{Client: c.name, Method: method, Request: req}))
		if !wantsLogin(err) || try == maxUnaryTries {
			return resp, err
		}
		if err := c.login(ctx); err != nil {
			return nil, err
		}
		if err := c.sleep(ctx, minFailure); err != nil {
			return nil, err
		}
	}
}

// NewStream opens a stream.
func (t *transport) NewStream(ctx context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	c := (*Client)(t)
	if err := c.ended(ctx); err != nil {
		return nil, err
	}
	if c.sim.needsTokens() {
		if err := c.login(ctx); err != nil {
			return nil, err
		}
	}
	st := newStream(c, ctx, path.Base(method), c.currentToken())
	switch st.method {
	case "Watch":
		st.server = &watchStream{s: c.sim, st: st, watchers: make(map[int64]*watcher)}
	case "LeaseKeepAlive":
		st.server = &keepAlives{c.sim, st}
	default:
		return nil, errUnimplemented
	}
	c.track(st)
	go st.pump()
	return st, nil
}

func (c *Client) call(ctx context.Context, req proto.Message, token string, f Fate) (proto.Message, error) {
	arrival := time.Now().Add(f.Send)
	if err := c.travel(ctx, f.Send); err != nil {
		// What is on its way arrives even though its sender has given it up, unless the way is cut.
		if left := time.Until(arrival); left > 0 && f.Lose != Request && c.passes() {
			c.later(ctx, left, req, token)
		}
		return nil, err
	}
	if f.Lose == Request {
		if f.Late > 0 {
			c.later(ctx, f.Late, req, token)
		}
		return nil, c.lost(ctx, f)
	}
	var (
		resp proto.Message
		err  error
	)
	if f.Refuse == nil || f.Carried {
		resp, err = c.sim.serve(ctx, req, token)
	}
	if f.Refuse != nil {
		resp, err = nil, f.Refuse
	}
	if f.Lose == Answer {
		return nil, c.lost(ctx, f)
	}
	if ended := c.travel(ctx, f.Reply); ended != nil {
		return nil, ended
	}
	return resp, err
}

// later has etcd receive req after d, whatever becomes of the caller.
func (c *Client) later(ctx context.Context, d time.Duration, req proto.Message, token string) {
	md, _ := metadata.FromOutgoingContext(ctx)
	ctx = metadata.NewOutgoingContext(c.sim.ctx, md)
	time.AfterFunc(d, func() { c.sim.serve(ctx, req, token) })
}

// lost is how the caller of a lost call learns of it.
func (c *Client) lost(ctx context.Context, f Fate) error {
	if f.Hang {
		return c.wait(ctx, nil)
	}
	if err := c.travel(ctx, f.Reply); err != nil {
		return err
	}
	return errDisconnected
}

// travel is a message's way through the network. One that is held back sets out again afterwards, so that those that were
// held together do not arrive at one moment.
func (c *Client) travel(ctx context.Context, d time.Duration) error {
	for {
		if err := c.sleep(ctx, d); err != nil || c.passes() {
			return err
		}
		if err := c.wait(ctx, c.gate()); err != nil {
			return err
		}
	}
}

func (c *Client) sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return c.ended(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	return wait(c, ctx, timer.C)
}

func (c *Client) wait(ctx context.Context, ch <-chan struct{}) error { return wait(c, ctx, ch) }

// wait waits for ch. It fails when the call or the client ends.
func wait[T any](c *Client, ctx context.Context, ch <-chan T) error {
	select {
	case <-ch:
	case <-ctx.Done():
	case <-c.Ctx().Done():
	}
	return c.ended(ctx)
}

func (c *Client) ended(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	case c.Ctx().Err() != nil:
		return errClosed
	}
	return nil
}
