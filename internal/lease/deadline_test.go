package lease

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/clock"
)

// A member is an etcd whose answers the test chooses.
type member struct {
	clientv3.Lease
	grant time.Duration                              // how long a grant takes
	renew func(n int) (d time.Duration, fate answer) // what becomes of the nth renewal, and after how long

	mu       sync.Mutex
	renewals int
	revoked  []clientv3.LeaseID
	risks    []change
}

type answer int

const (
	renewed answer = iota
	expired
	breaks // the stream
	silent
)

func (m *member) Grant(_ context.Context, ttl int64) (*clientv3.LeaseGrantResponse, error) {
	time.Sleep(m.grant)
	return &clientv3.LeaseGrantResponse{ID: 7, TTL: ttl}, nil
}

func (m *member) Revoke(_ context.Context, id clientv3.LeaseID) (*clientv3.LeaseRevokeResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revoked = append(m.revoked, id)
	return &clientv3.LeaseRevokeResponse{}, nil
}

// A stream is one stream of renewals to a member.
type stream struct {
	pb.Lease_LeaseKeepAliveClient
	m   *member
	ctx context.Context
	got chan *pb.LeaseKeepAliveResponse
}

func (m *member) open(ctx context.Context) (pb.Lease_LeaseKeepAliveClient, error) {
	return &stream{m: m, ctx: ctx, got: make(chan *pb.LeaseKeepAliveResponse, 10)}, nil
}

func (s *stream) Send(req *pb.LeaseKeepAliveRequest) error {
	s.m.mu.Lock()
	n := s.m.renewals
	s.m.renewals++
	s.m.mu.Unlock()
	after, fate := s.m.renew(n)
	var resp *pb.LeaseKeepAliveResponse
	switch fate {
	case silent:
		return nil
	case renewed:
		resp = &pb.LeaseKeepAliveResponse{ID: req.ID, TTL: 10}
	case expired:
		resp = &pb.LeaseKeepAliveResponse{ID: req.ID}
	}
	time.AfterFunc(after, func() { s.got <- resp })
	return nil
}

func (s *stream) Recv() (*pb.LeaseKeepAliveResponse, error) {
	select {
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	case resp := <-s.got:
		if resp == nil {
			return nil, errors.New("test: broken")
		}
		return resp, nil
	}
}

// withLease runs f with a lease of ten seconds of a member.
func withLease(t *testing.T, m *member, f func(t *testing.T, s *Lease)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		base, end := context.WithCancel(context.Background())
		var goroutines sync.WaitGroup
		set := NewSet(Config{
			Lease: m, Stream: m.open,
			Base: base, Drain: base, Grants: base,
			Spawn:   func(f func()) bool { goroutines.Go(f); return true },
			Now:     clock.Read,
			Cause:   func(w Loss) error { return errors.New(w.String()) },
			OnLost:  func(*Lease, Loss) {},
			OnRisk:  m.risk,
			Silent:  errors.New("test: silent"),
			KeepFor: func(int64) time.Duration { return 5 * time.Second },
			Log:     slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
		s, err := set.Use(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		f(t, s)
		end()
		goroutines.Wait()
		time.Sleep(time.Minute) // for answers that come late
	})
}

func wantLeft(t *testing.T, s *Lease, want time.Duration) {
	t.Helper()
	if left := s.Remaining(); (left-want).Abs() > 20*time.Millisecond || s.Lost() != 0 {
		t.Errorf("%v left, want %v; lost: %v", left, want, s.Lost())
	}
}

func TestDeadline(t *testing.T) {
	always := func(after time.Duration, fate answer) func(int) (time.Duration, answer) {
		return func(int) (time.Duration, answer) { return after, fate }
	}
	t.Run("counts from before the grant", func(t *testing.T) {
		withLease(t, &member{grant: 500 * time.Millisecond, renew: always(0, silent)}, func(t *testing.T, s *Lease) {
			wantLeft(t, s, 8500*time.Millisecond)
		})
	})
	t.Run("counts from before the renewal", func(t *testing.T) {
		withLease(t, &member{renew: always(900*time.Millisecond, renewed)}, func(t *testing.T, s *Lease) {
			time.Sleep(10*time.Second/3 + time.Second)
			wantLeft(t, s, 8*time.Second)
			time.Sleep(time.Hour)
			if s.Lost() != 0 {
				t.Errorf("lost: %v", s.Lost())
			}
		})
	})
	t.Run("passes when nothing is answered", func(t *testing.T) {
		withLease(t, &member{renew: always(0, silent)}, func(t *testing.T, s *Lease) {
			began := time.Now()
			<-s.Context().Done()
			if d := time.Since(began); d != 9*time.Second || s.Lost() != Overdue {
				t.Errorf("lost after %v: %v", d, s.Lost())
			}
		})
	})
}

func TestRenewal(t *testing.T) {
	firstIs := func(fate answer) *member {
		return &member{renew: func(n int) (time.Duration, answer) {
			if n == 0 {
				return 0, fate
			}
			return 0, renewed
		}}
	}
	for name, m := range map[string]*member{"that is swallowed": firstIs(silent), "whose stream breaks": firstIs(breaks)} {
		t.Run(name, func(t *testing.T) {
			withLease(t, m, func(t *testing.T, s *Lease) {
				time.Sleep(time.Minute)
				m.mu.Lock()
				defer m.mu.Unlock()
				if s.Lost() != 0 || m.renewals < 17 || m.renewals > 21 {
					t.Errorf("lost: %v, after %d renewals", s.Lost(), m.renewals)
				}
			})
		})
	}
	t.Run("whose stream breaks goes again soon", func(t *testing.T) {
		m := firstIs(breaks)
		withLease(t, m, func(t *testing.T, _ *Lease) {
			time.Sleep(4 * time.Second)
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.renewals != 2 {
				t.Errorf("%d renewals in 4 s, want one after a third of the TTL and another half a second later", m.renewals)
			}
		})
	})
	t.Run("of a lease that has expired", func(t *testing.T) {
		withLease(t, firstIs(expired), func(t *testing.T, s *Lease) {
			time.Sleep(4 * time.Second)
			if s.Lost() != Expired {
				t.Errorf("lost: %v", s.Lost())
			}
		})
	})
}

func TestExtend(t *testing.T) {
	now := clock.Instant{Mono: time.Hour, Wall: 2 * time.Hour}
	for name, it := range map[string]struct{ left, sent, want time.Duration }{
		"plain":                     {left: time.Second, sent: -time.Second, want: 8 * time.Second},
		"an answer that comes late": {left: 5 * time.Second, sent: -6 * time.Second, want: 5 * time.Second},
		"passed":                    {left: 0, sent: 0, want: 0},
		"passed long ago":           {left: -time.Second, sent: 0, want: -time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Lease{set: &Set{cfg: Config{Now: func() clock.Instant { return now }}}}
			d := now.Add(it.left)
			s.deadline.Store(&d)
			s.extend(now.Add(it.sent), 10*time.Second)
			if left := s.Remaining(); left != it.want {
				t.Errorf("%v left, want %v", left, it.want)
			}
		})
	}
}

func TestRetire(t *testing.T) {
	m := &member{renew: func(int) (time.Duration, answer) { return 0, renewed }}
	withLease(t, m, func(t *testing.T, s *Lease) {
		if s.retire() || s.Context().Err() != nil {
			t.Fatal("a lease with a user is retired")
		}
		s.Part()
		if !s.Join() {
			t.Fatal("a lease that is not retired takes no user")
		}
		s.Part()
		if !s.retire() || s.Context().Err() == nil {
			t.Fatal("a lease without users is not retired")
		}
		if s.Join() || s.retire() {
			t.Error("a retired lease takes a user")
		}
	})
	withLease(t, m, func(t *testing.T, s *Lease) {
		s.Part()
		time.Sleep(7 * time.Second)
		m.mu.Lock()
		defer m.mu.Unlock()
		if len(m.revoked) != 1 || m.revoked[0] != s.ID() {
			t.Errorf("revoked: %x", m.revoked)
		}
	})
}

func TestSuits(t *testing.T) {
	for _, it := range []struct {
		seconds, ttl int64
		want         bool
	}{{10, 10, true}, {9, 10, false}, {11, 10, true}, {12, 10, false}, {90, 80, true}, {91, 80, false}, {100, 10, false}} {
		if got := suits(it.seconds, it.ttl); got != it.want {
			t.Errorf("a lease of %d s suits a TTL of %d s: %v", it.seconds, it.ttl, got)
		}
	}
}
