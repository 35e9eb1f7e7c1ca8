package calls

import (
	"context"
	"reflect"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"

	"github.com/phpgao/elock/internal/clock"
	"github.com/phpgao/elock/internal/etcderr"
)

// Lease is the client's Lease. It tells errors that pass from those that do not, and notes what is answered, as Txn does. Renewals
// do not count: whoever sends them knows more.
func (c *Client) Lease() clientv3.Lease { return c.lease }

type leaser struct {
	clientv3.Lease
	c *Client
}

func (l leaser) Grant(ctx context.Context, ttl int64) (*clientv3.LeaseGrantResponse, error) {
	sent := clock.Mono()
	resp, err := l.Lease.Grant(ctx, ttl)
	return resp, l.heard(sent, err)
}

func (l leaser) Revoke(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseRevokeResponse, error) {
	sent := clock.Mono()
	resp, err := l.Lease.Revoke(ctx, id)
	return resp, l.heard(sent, err)
}

func (l leaser) heard(sent int64, err error) error {
	err = etcderr.Of(l.c.client, err)
	l.c.hear(sent, err)
	return err
}

// A streamer is a clientv3.Lease that opens streams of renewals. A Lease that
// wraps etcd's own may be one; otherwise each renewal is a KeepAliveOnce.
type streamer interface {
	KeepAliveStream(context.Context) (pb.Lease_LeaseKeepAliveClient, error)
}

// Renewals returns what opens a stream of renewals, or nil. Past the client's
// Lease it goes only if that is etcd's own.
func (c *Client) Renewals() func(context.Context) (pb.Lease_LeaseKeepAliveClient, error) {
	if s, ok := c.client.Lease.(streamer); ok {
		return s.KeepAliveStream
	}
	conn := c.client.ActiveConnection()
	if conn == nil || !plainLease(c.client.Lease) {
		return nil
	}
	remote := pb.NewLeaseClient(conn)
	return func(ctx context.Context) (pb.Lease_LeaseKeepAliveClient, error) { return remote.LeaseKeepAlive(ctx) }
}

// plainLease reports whether renewals may go past l: it is etcd's, or that of
// a namespace, which leaves leases as they are.
func plainLease(l clientv3.Lease) bool {
	own := clientv3.NewLeaseFromLeaseClient(nil, nil, 0)
	defer own.Close()
	t := reflect.TypeOf(l)
	return t == reflect.TypeOf(own) || t == reflect.TypeOf(namespace.NewLease(nil, ""))
}
