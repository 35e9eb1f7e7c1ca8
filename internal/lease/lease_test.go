package lease_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/clock"
	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/lease"
)

var errSilent = errors.New("test: silent")

// A bed is a Set on an etcd in memory, in virtual time.
type bed struct {
	*lease.Set
	sim     *etcdsim.Sim
	client  *etcdsim.Client
	mu      sync.Mutex
	lost    map[*lease.Lease]lease.Loss
	losses  int
	streams int
	refuse  error      // of grants
	deaf    *deafLease // takes revocations, if it is not nil
}

// inBed runs f, and then ends the Set.
func inBed(t *testing.T, f func(t *testing.T, b *bed)) {
	synctest.Test(t, func(t *testing.T) {
		sim := etcdsim.New(1)
		defer sim.Close()
		b := &bed{sim: sim, client: sim.NewClient("a"), lost: make(map[*lease.Lease]lease.Loss)}
		base, end := context.WithCancel(context.Background())
		var goroutines sync.WaitGroup
		opener := b.client.Lease.(interface {
			KeepAliveStream(context.Context) (pb.Lease_LeaseKeepAliveClient, error)
		})
		b.Set = lease.NewSet(lease.Config{
			Lease: granter{b.client.Lease, b},
			Stream: func(ctx context.Context) (pb.Lease_LeaseKeepAliveClient, error) {
				b.mu.Lock()
				b.streams++
				b.mu.Unlock()
				return opener.KeepAliveStream(ctx)
			},
			Base: base, Drain: base, Grants: base,
			Spawn: func(f func()) bool { goroutines.Go(f); return true },
			Now:   clock.Read,
			Cause: func(w lease.Loss) error { return errors.New(w.String()) },
			OnLost: func(s *lease.Lease, why lease.Loss) {
				if s.Lost() != why || s.Context().Err() == nil || s.Waits().Err() == nil {
					t.Errorf("OnLost is called of a lease whose loss is %v, its contexts end with %v and %v", s.Lost(), s.Context().Err(), s.Waits().Err())
				}
				b.mu.Lock()
				defer b.mu.Unlock()
				b.lost[s] = why
				b.losses++
			},
			OnRisk:  func(*lease.Lease) {},
			Silent:  errSilent,
			KeepFor: func(int64) time.Duration { return 5 * time.Second },
			Log:     slog.New(slog.NewTextHandler(io.Discard, nil)),
			MaxKeys: 4,
		})
		f(t, b)
		end()
		goroutines.Wait()
	})
}

// A granter refuses grants as the bed says.
type granter struct {
	clientv3.Lease
	b *bed
}

func (g granter) Grant(ctx context.Context, ttl int64) (*clientv3.LeaseGrantResponse, error) {
	if err := g.b.refusing(nil, false); err != nil {
		return nil, err
	}
	return g.Lease.Grant(ctx, ttl)
}

func (g granter) Revoke(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseRevokeResponse, error) {
	if g.b.deaf != nil {
		return g.b.deaf.Revoke(ctx, id)
	}
	return g.Lease.Revoke(ctx, id)
}

// refusing returns the error of grants, which it first sets to err if set is true.
func (b *bed) refusing(err error, set bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if set {
		b.refuse = err
	}
	return b.refuse
}

func (b *bed) use(t *testing.T, seconds int64) *lease.Lease {
	t.Helper()
	s, err := b.Use(t.Context(), seconds)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// inEtcd is how many leases etcd has.
func (b *bed) inEtcd(t *testing.T) int {
	t.Helper()
	resp, err := b.client.Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return len(resp.Leases)
}

func TestALeaseTakesSoManyUsersAndIdleOnesGo(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		users := make(map[*lease.Lease]int)
		var all []*lease.Lease
		for range 40 {
			s := b.use(t, 10)
			users[s]++
			all = append(all, s)
			synctest.Wait()
		}
		if len(users) > 20 {
			t.Errorf("%d leases for 40 users", len(users))
		}
		for s, n := range users {
			if n > 5 { // one more while another is granted
				t.Errorf("lease %x has %d users", s.ID(), n)
			}
		}
		time.Sleep(time.Minute)
		if n := b.inEtcd(t); n != b.Count() || n < 8 {
			t.Errorf("etcd has %d leases, the set %d", n, b.Count())
		}
		if b.streams != 1 {
			t.Errorf("%d streams for all renewals", b.streams)
		}
		for _, s := range all {
			s.Part()
		}
		time.Sleep(4 * time.Second)
		if n := b.inEtcd(t); n != len(users) {
			t.Errorf("etcd has %d leases after 4 s, want all %d", n, len(users))
		}
		time.Sleep(4 * time.Second)
		if n := b.inEtcd(t); n != 0 || b.Count() != 0 {
			t.Errorf("etcd has %d leases, the set %d", n, b.Count())
		}
	})
}

func TestTTLsOfTheirOwnShareLeases(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		long := b.use(t, 1000)
		defer long.Part()
		for seconds := int64(10); seconds < 1000; seconds++ {
			s := b.use(t, seconds)
			if s.Seconds() < seconds || s.Seconds() > seconds+seconds/8 || !s.Suits(seconds) {
				t.Fatalf("a lease of %d s for %d s", s.Seconds(), seconds)
			}
			s.Part()
		}
		if n := b.Count(); n > 70 {
			t.Errorf("%d leases", n)
		}
	})
}

func TestALeaseOutlivesStreamsThatBreakAndThatAreSilent(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		s := b.use(t, 6)
		for range 5 {
			time.Sleep(3 * time.Second)
			b.client.BreakStreams()
		}
		for range 5 {
			time.Sleep(3 * time.Second)
			b.client.Pause(1500 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		if why := s.Lost(); why != 0 || s.Remaining() < 3*time.Second {
			t.Errorf("lost: %v, %v left", why, s.Remaining())
		}
	})
}

func TestALeaseIsGivenUpBeforeEtcdLetsItExpire(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		s := b.use(t, 10)
		time.Sleep(4 * time.Second)
		b.client.Partition()
		select {
		case <-s.Context().Done():
		case <-time.After(time.Minute):
			t.Fatal("it is believed in")
		}
		synctest.Wait()
		if why := b.lost[s]; why != lease.Overdue || s.Lost() != lease.Overdue {
			t.Errorf("lost: %v", why)
		}
		if n := len(must(b.sim.NewClient("b").Leases(t.Context())).Leases); n != 1 {
			t.Errorf("etcd has %d leases then, want that one", n)
		}
		kv := &mvccpb.KeyValue{Lease: int64(s.ID())}
		if !b.GaveUp(kv) || b.GaveUp(&mvccpb.KeyValue{Lease: kv.Lease + 1}) {
			t.Error("it is not known that the lease was given up")
		}
		b.client.Heal()
		if left, err := b.Revoke(t.Context()); len(left) > 0 || err != nil || b.inEtcd(t) != 0 {
			t.Errorf("left %v, %v; etcd has %d", left, err, b.inEtcd(t))
		}
	})
}

func TestALeaseThatEtcdForgotIsLostAtItsNextRenewal(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		s := b.use(t, 9)
		if _, err := b.client.Revoke(t.Context(), s.ID()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second)
		if s.Lost() != lease.Expired || b.use(t, 9) == s {
			t.Errorf("lost: %v", s.Lost())
		}
	})
}

func TestRefusedGrantsLeaveNothingAndPassingOnesAreTriedAgain(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.refusing(rpctypes.ErrPermissionDenied, true)
		if _, err := b.Use(t.Context(), 5); !errors.Is(err, rpctypes.ErrPermissionDenied) || b.Count() != 0 {
			t.Errorf("got error %v, %d leases", err, b.Count())
		}
		b.refusing(rpctypes.ErrTooManyRequests, true)
		time.AfterFunc(3*time.Second, func() { b.refusing(nil, true) })
		b.use(t, 5).Part()
	})
}

func TestAGrantThatIsNotAnsweredFails(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.client.Partition()
		began := time.Now()
		if _, err := b.Use(t.Context(), 5); !errors.Is(err, errSilent) || time.Since(began) > 5*time.Second {
			t.Errorf("got error %v after %v", err, time.Since(began))
		}
		b.client.Heal()
	})
}

func TestAGrantThatIsNotAnsweredTellsTheLastError(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.refusing(rpctypes.ErrTooManyRequests, true)
		_, err := b.Use(t.Context(), 5)
		if !errors.Is(err, errSilent) || errors.Is(err, rpctypes.ErrTooManyRequests) || !strings.Contains(err.Error(), rpctypes.ErrTooManyRequests.Error()) {
			t.Errorf("got %v, want an error that matches %v alone and tells %v", err, errSilent, rpctypes.ErrTooManyRequests)
		}
	})
}

func TestLose(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		s := b.use(t, 10)
		s.Lose(lease.Expired)
		s.Lose(lease.Overdue)
		if b.losses != 1 || s.Lost() != lease.Expired {
			t.Errorf("OnLost was called %d times; lost: %v", b.losses, s.Lost())
		}
	})
}

func TestRevokeRevokesAll(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		for i := range int64(20) {
			b.use(t, 10+i*10)
		}
		if left, err := b.Revoke(t.Context()); len(left) > 0 || err != nil || b.inEtcd(t) != 0 {
			t.Errorf("left %v, %v; etcd has %d", left, err, b.inEtcd(t))
		}
	})
}

func TestRevokeTriesAgainWhatOutlivedIt(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		s := b.use(t, 100)
		b.client.Partition()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if left, err := b.Revoke(ctx); len(left) != 1 || left[0] != s.ID() || err == nil {
			t.Errorf("left %v, %v", left, err)
		}
		b.client.Heal()
		if left, err := b.Revoke(t.Context()); len(left) > 0 || err != nil || b.inEtcd(t) != 0 {
			t.Errorf("left %v, %v; etcd has %d", left, err, b.inEtcd(t))
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A deafLease is a Lease of which each of the first two revocations of a lease
// meets a member that swallows it.
type deafLease struct {
	clientv3.Lease
	mu    sync.Mutex
	tries map[clientv3.LeaseID]int
}

func (d *deafLease) Revoke(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseRevokeResponse, error) {
	d.mu.Lock()
	d.tries[id]++
	n := d.tries[id]
	d.mu.Unlock()
	if n <= 2 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return d.Lease.Revoke(ctx, id)
}

func TestARevocationThatIsSwallowedTwiceGoesAgain(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.deaf = &deafLease{Lease: b.client.Lease, tries: make(map[clientv3.LeaseID]int)}
		for range 9 { // under several
			b.use(t, 10)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // as Close
		defer cancel()
		if left, err := b.Revoke(ctx); err != nil || b.inEtcd(t) > 0 {
			t.Errorf("left: %x, %v", left, err)
		}
	})
}
