package locker_test

import (
	"context"
	"errors"
	"flag"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/etcdtest/mode"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// evictions is how many holds a test evicts while tokens expire. 5 minutes of
// them: -evictions=50.
var evictions = flag.Int("evictions", 3, "how many holds are evicted while tokens expire")

func TestAHoldUnderATokenOfSecondsMakesTwoLogins(t *testing.T) {
	t.Parallel()
	s := etcdtest.StartAuth(t, etcdtest.AuthConfig{TokenTTL: 3 * time.Second})
	l := newLocker(t, s.Client(t), locker.WithPrefix(s.Prefix(t)))
	before := s.Logins(t)
	h := locktest.Acquire(t, l, key, locker.TTL(2*time.Second))
	select { // the time of the claim
	case <-h.Context().Done():
		t.Fatal(h.Err())
	case <-time.After(20 * time.Second):
	}
	if n := s.Logins(t) - before; n > 2 { // for the stream of renewals and that of watches
		t.Errorf("a hold of 20 s made %d logins", n)
	}
	locktest.Release(t, h)
}

// All watches of a client with the same metadata share a gRPC stream, and etcd
// refuses new ones on it when its token has died (etcd#12615).
func TestLossesAreToldThoughTokensExpireUnderOtherWatches(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]etcdtest.AuthConfig{
		"simple tokens": {TokenTTL: 3 * time.Second},
		"JWT":           {TokenTTL: 3 * time.Second, JWT: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := etcdtest.StartAuth(t, cfg)
			prefix := s.Prefix(t)
			client := s.Client(t)
			a, b := newLocker(t, client, locker.WithPrefix(prefix)), newLocker(t, s.Client(t), locker.WithPrefix(prefix))
			// The user's own watches keep the client's streams open.
			client.Watch(t.Context(), "/"+prefix+"/", clientv3.WithPrefix())
			client.Watch(clientv3.WithRequireLeader(t.Context()), "/"+prefix+"/", clientv3.WithPrefix())
			space := keyspace.MustNew[int]("n")
			var worst time.Duration
			for i := range *evictions {
				h := locktest.Acquire(t, a, space.Key(i))
				select { // tokens that nobody uses die
				case <-h.Context().Done():
					t.Fatal(h.Err())
				case <-time.After(5 * time.Second):
				}
				reason := locker.ReasonEvicted
				if i%2 == 0 {
					if _, err := b.Evict(t.Context(), space.Key(i)); err != nil {
						t.Fatal(err)
					}
				} else {
					reason = locker.ReasonKeyDeleted
					if _, err := client.Delete(t.Context(), space.Key(i).Path(prefix), clientv3.WithPrefix()); err != nil {
						t.Fatal(err)
					}
				}
				began := time.Now()
				locktest.Receive(t, h.Context().Done())
				worst = max(worst, time.Since(began))
				locktest.WantLost(t, h.Err(), reason)
				// And a lock is handed over.
				held := locktest.Acquire(t, b, space.Key(i))
				got := locktest.Async(t, func() error {
					h, err := a.Acquire(t.Context(), space.Key(i))
					return errors.Join(err, h.Release(t.Context()))
				})
				locktest.UntilQueued(t, b, space.Key(i), 2)
				locktest.Release(t, held)
				began = time.Now()
				locktest.WantErr(t, got(), nil)
				worst = max(worst, time.Since(began))
			}
			t.Logf("%d evictions and hand-overs: the last is told after %v", *evictions, worst)
			if worst > slower*2*time.Second {
				t.Errorf("told after %v", worst)
			}
		})
	}
}

func TestPasswordsAndRolesThatChangeEndOnlyWhatIsForbidden(t *testing.T) {
	t.Parallel()
	s := etcdtest.StartAuth(t, etcdtest.AuthConfig{TokenTTL: 3 * time.Second})
	prefix, other := s.Prefix(t), s.Prefix(t)
	client := s.Client(t)
	l, o := newLocker(t, client, locker.WithPrefix(prefix), locker.WithTTL(5*time.Second)), newLocker(t, client, locker.WithPrefix(other))
	h, stays := locktest.Acquire(t, l, key), locktest.Acquire(t, o, key)
	s.SetPassword(t, "another")
	s.SetPassword(t, "app's secret") // what client has
	s.Disable(t)
	s.Enable(t)
	locktest.Release(t, locktest.Acquire(t, l, neighbour))
	s.Revoke(t, prefix)
	if _, err := l.Acquire(t.Context(), neighbour); !errors.Is(err, rpctypes.ErrPermissionDenied) {
		t.Errorf("got error %v, want %v", err, rpctypes.ErrPermissionDenied)
	}
	if mode.Version() == "" { // older ones renew a lease whose keys are forbidden
		locktest.Receive(t, h.Context().Done())
		locktest.WantErr(t, h.Err(), locker.ErrLost)
	}
	locktest.WantErr(t, stays.Err(), nil)
	locktest.Release(t, stays)
	s.Grant(t, prefix)
	_ = h.Release(t.Context()) // perhaps lost
	ctx, cancel := context.WithTimeout(t.Context(), locktest.Wait)
	defer cancel()
	again, err := l.Acquire(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	locktest.Release(t, again)
}
