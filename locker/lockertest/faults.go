package lockertest

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// The functions in this file may be called from several goroutines, and also
// while l is disconnected. When the test has ended they do nothing. Given a
// Locker that New or NewPair did not return, they panic.

// Lose takes key from l, which holds it: its key in etcd is deleted. From then
// on others get the lock. The hold ends with the reason locker.ReasonKeyDeleted when l
// learns of it: at once, or some 2 seconds after its grant if it is younger than
// that, and later if l is slow or disconnected. If l does not hold key, the test
// fails and goes on.
func Lose(l *locker.Locker, key keyspace.Key) {
	p := of(l)
	p.tb.Helper()
	if !p.begin() {
		return
	}
	defer p.faults.Done()
	if err := p.lose(l, key); err != nil {
		p.tb.Errorf("lockertest: Lose %q: %v", key, err)
	}
}

func (p *process) lose(l *locker.Locker, key keyspace.Key) error {
	ctx := context.Background()
	queue, err := p.store.direct.Get(ctx, key.Path(l.Prefix()), clientv3.WithPrefix(),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		return err
	}
	for _, entry := range queue.Kvs {
		if entry.Lease == 0 {
			continue // not an entry
		}
		if !slices.Contains(p.granted(), clientv3.LeaseID(entry.Lease)) {
			break // somebody else holds it
		}
		name := string(entry.Key)
		_, err := p.store.direct.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(name), "=", entry.CreateRevision)).
			Then(clientv3.OpDelete(name)).
			Commit()
		return err
	}
	return locker.ErrNotHeld
}

// Expire ends all leases of l in etcd, and with them every lock that l holds and
// every wait. From then on others get the locks. The holds end with the reason
// locker.ReasonLeaseExpired when l learns of it, as with Lose; the next acquire gets a
// new lease.
func Expire(l *locker.Locker) {
	p := of(l)
	p.tb.Helper()
	if !p.begin() {
		return
	}
	defer p.faults.Done()
	for _, id := range p.granted() {
		if _, err := p.store.direct.Revoke(context.Background(), id); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			p.tb.Errorf("lockertest: Expire: %v", err)
		}
	}
}

// SetDelay makes l's way to etcd and back take d, and the news of a watch half
// of that. It counts for what is sent from now on. The default is 0.
func SetDelay(l *locker.Locker, d time.Duration) {
	f := etcdsim.Fate{Send: d / 2, Reply: d - d/2}
	plan := func(etcdsim.Call, *rand.Rand) etcdsim.Fate { return f }
	of(l).network(func(c *etcdsim.Client) { c.SetPlan(plan) })
}

// Disconnect cuts l off from etcd until Reconnect: what it sends is not
// answered. All that it holds is lost if that lasts, with the reason
// locker.ReasonDeadline, and always before anybody else can get it.
func Disconnect(l *locker.Locker) { of(l).network((*etcdsim.Client).Partition) }

// Reconnect ends a Disconnect. What was sent in between arrives now, except for
// calls whose context is done.
func Reconnect(l *locker.Locker) { of(l).network((*etcdsim.Client).Heal) }

func (p *process) network(change func(*etcdsim.Client)) {
	if p.begin() {
		defer p.faults.Done()
		change(p.client)
	}
}
