package locker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/internal/proctest"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// request asks for key, which is held.
func request(t *testing.T, l *locker.Locker, reason string) {
	t.Helper()
	if asked, err := l.RequestRelease(t.Context(), key, reason); !asked || err != nil {
		t.Fatalf("RequestRelease: %v, %v", asked, err)
	}
}

// wantRequest wants h to hear of a request within d, and to be held.
func wantRequest(t *testing.T, h interface {
	Requested() <-chan struct{}
	RequestReason() string
	RequestedBy() string
	Err() error
}, d time.Duration, by, reason string) {
	t.Helper()
	select {
	case <-h.Requested():
	case <-time.After(d):
		t.Fatalf("not heard of within %v", d)
	}
	if h.RequestReason() != reason || h.RequestedBy() != by || h.Err() != nil {
		t.Errorf("%q by %q, %v", h.RequestReason(), h.RequestedBy(), h.Err())
	}
}

func requested(h *locker.Hold) bool {
	select {
	case <-h.Requested():
		return true
	default:
		return false
	}
}

// A request is heard of through every kind of watch, and where none works.
func TestAHolderHearsThatSomebodyAsksForTheLock(t *testing.T) {
	for _, streams := range []bool{true, false} {
		for _, others := range []int{0, 20} {
			for _, deaf := range []bool{false, true} {
				for _, age := range []time.Duration{0, 1500 * time.Millisecond, 10 * time.Second} {
					for _, late := range []bool{false, true} { // Requested is called later
						t.Run(fmt.Sprint(streams, others, deaf, age, late), func(t *testing.T) {
							simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
								c := sim.NewClient("a")
								if streams {
									c.OfferWatchStreams()
								}
								if deaf {
									c.SetPlan(func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
										if call.Method == "Watch" {
											return etcdsim.Fate{Lose: etcdsim.Request}
										}
										return etcdsim.Fate{}
									})
								}
								a, b := locktest.New(t, c.Client), locktest.New(t, sim.NewClient("b").Client, locker.WithOwner("b"))
								for i := range others {
									locktest.Acquire(t, a, keyspace.MustNew[int]("other").Key(i))
								}
								h := locktest.Acquire(t, a, key)
								if !late && requested(h) {
									t.Fatal("requested by nobody")
								}
								time.Sleep(age)
								request(t, b, "rolling deploy")
								request(t, b, "the second does not count")
								if late {
									time.Sleep(5 * time.Second)
								}
								soon := 3 * time.Second
								if !deaf && !late && age == 10*time.Second && (streams || others == 0) {
									soon = time.Second / 10
								}
								wantRequest(t, h, soon, "b", "rolling deploy")
								time.Sleep(time.Minute)
								locktest.Must(t, h.Err())
								locktest.Release(t, h)
								if asked, err := b.RequestRelease(t.Context(), key, ""); asked || err != nil {
									t.Errorf("asked nobody: %v, %v", asked, err)
								}
							})
						})
					}
				}
			}
		}
	}
}

func TestAllWhoHoldTogetherAreAsked(t *testing.T) {
	for name, opt := range map[string]locker.AcquireOption{"shared": locker.Shared(), "slots": locker.Slots(3)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := lockertest.NewPair(t)
				var holds []*locker.Hold
				for _, l := range []*locker.Locker{a, a, b} {
					holds = append(holds, locktest.Acquire(t, l, key, opt))
				}
				request(t, a, "write")
				for _, h := range holds {
					wantRequest(t, h, 3*time.Second, "a", "write")
					locktest.Release(t, h)
				}
			})
		})
	}
}

func TestASetIsAskedWhenOneOfItsLocksIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		s := proctest.Must(a.AcquireAll(t.Context(), []keyspace.Key{key, keyspace.MustParse("zzz")}))
		request(t, b, "reason")
		wantRequest(t, s, 3*time.Second, "b", "reason")
		locktest.Release(t, s)
	})
}

// A request must not be lost by what the holder writes, and undo nothing of it.
func TestARequestAndAnAnnouncementDoNotHurtEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		h := locktest.Acquire(t, a, key, locker.Announcing("first"))
		request(t, b, "reason")
		for _, text := range []string{"second", "third"} {
			locktest.Must(t, h.Announce(t.Context(), text))
			if q := proctest.Must(b.Inspect(t.Context(), key)); q.Holders[0].Announcement != text {
				t.Errorf("%+v", q)
			}
		}
		wantRequest(t, h, 3*time.Second, "b", "reason")
		locktest.Release(t, h)

		h = locktest.Acquire(t, a, key, locker.Announcing("first"))
		locktest.Must(t, h.Announce(t.Context(), "second"))
		request(t, b, "reason")
		if q := proctest.Must(b.Inspect(t.Context(), key)); q.Holders[0].Announcement != "second" {
			t.Errorf("%+v", q)
		}
		wantRequest(t, h, 3*time.Second, "b", "reason")
		locktest.Release(t, h)
	})
}

func TestARequestIsNoNewsOfTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var seen atomic.Int64
		go func() {
			for range b.Watch(ctx, key) {
				seen.Add(1)
			}
		}()
		h := locktest.Acquire(t, a, key, locker.Announcing("first"))
		time.Sleep(time.Second)
		before := seen.Load()
		request(t, b, "reason")
		time.Sleep(time.Second)
		if n := seen.Load(); n != before {
			t.Errorf("%d more", n-before)
		}
		locktest.Must(t, h.Announce(t.Context(), "second"))
		time.Sleep(time.Second)
		if n := seen.Load(); n != before+1 {
			t.Errorf("%d more after an announcement", n-before)
		}
		locktest.Release(t, h)
	})
}

func TestARetainedLockGivesWayToARequest(t *testing.T) {
	for _, used := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a, b := lockertest.NewPair(t, locker.WithRetain(time.Hour))
			locktest.Release(t, locktest.Acquire(t, a, key))
			time.Sleep(time.Second)
			var h *locker.Hold
			if used {
				h = locktest.Acquire(t, a, key)
			}
			request(t, b, "reason")
			if used {
				wantRequest(t, h, 3*time.Second, "b", "reason")
				locktest.Release(t, h)
			}
			time.Sleep(time.Second)
			if q := proctest.Must(b.Inspect(t.Context(), key)); len(q.Holders) != 0 {
				t.Errorf("%+v", q)
			}
		})
	}
}

func TestWhoDoesNotHoldIsNotAsked(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c := sim.NewClient("a")
		l := locktest.New(t, c.Client)
		ask := func() (bool, error) { return l.RequestRelease(t.Context(), key, "reason") }
		if asked, err := ask(); asked || err != nil {
			t.Errorf("nobody: %v, %v", asked, err)
		}
		locktest.Release(t, locktest.Acquire(t, l, key, locker.AtLeast(time.Minute)))
		if asked, err := ask(); asked || err != nil {
			t.Errorf("it only stays taken: %v, %v", asked, err)
		}
		time.Sleep(time.Hour)
		lease := proctest.Must(c.Grant(t.Context(), 1000)).ID
		proctest.Must(c.Put(t.Context(), key.Path("elock")+"1", "foreign", clientv3.WithLease(lease)))
		asked, err := ask()
		if locktest.WantErr(t, err, locker.ErrForeignHolder); asked {
			t.Error("asked a foreign holder")
		}
		_, err = l.RequestRelease(t.Context(), key, strings.Repeat("x", 1025))
		locktest.WantErr(t, err, locker.ErrInvalidOption)
		_, err = l.RequestRelease(t.Context(), keyspace.Key{}, "")
		locktest.WantErr(t, err, keyspace.ErrInvalid)
		locktest.Must(t, l.Close())
		_, err = ask()
		locktest.WantErr(t, err, locker.ErrClosed)
	})
}

// A commit that puts the record again is sent anew when a request has come between, and is carried out once.
func TestARequestDoesNotHurtACommit(t *testing.T) {
	value := key.ValuePath("elock")
	for name, f := range map[string]etcdsim.Fate{
		"": {}, "slow": {Send: 50 * time.Millisecond}, "answer lost": {Lose: etcdsim.Answer}, "answer swallowed": {Lose: etcdsim.Answer, Hang: true},
		"request lost": {Lose: etcdsim.Request}, "late": {Lose: etcdsim.Request, Hang: true, Late: 3 * time.Second},
	} {
		for _, before := range []bool{false, true} {
			for _, waits := range []bool{false, true} {
				t.Run(fmt.Sprint(name, before, waits), func(t *testing.T) {
					simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
						c, other := sim.NewClient("a"), sim.NewClient("b")
						a, b := locktest.New(t, c.Client, locker.WithRetain(time.Hour), locker.WithHandoff(100*time.Millisecond)), locktest.New(t, other.Client)
						locktest.Release(t, locktest.Acquire(t, a, key))
						time.Sleep(time.Second)
						h := locktest.Acquire(t, a, key, locker.ReadKeys(value))
						c.SetPlan(nil)
						next := make(chan error, 1)
						if waits {
							go func() {
								h, err := a.Acquire(t.Context(), key, locker.ReadKeys(value))
								if err == nil {
									err = h.Release(t.Context())
								}
								next <- err
							}()
							synctest.Wait()
						}
						var left atomic.Int64
						left.Store(1)
						c.SetPlan(func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
							if txn, ok := call.Request.(*pb.TxnRequest); ok && strings.Contains(txn.String(), "committed") && left.Add(-1) >= 0 {
								return f
							}
							return etcdsim.Fate{}
						})
						if before {
							request(t, b, "reason")
						} else {
							time.AfterFunc(10*time.Millisecond, func() { _, _ = b.RequestRelease(context.Background(), key, "reason") })
						}
						done, err := h.Commit(t.Context(), nil, clientv3.OpPut(value, "committed"))
						if !done || err != nil {
							t.Errorf("Commit: %v, %v", done, err)
						}
						time.Sleep(10 * time.Second)
						if kvs := proctest.Must(other.Get(t.Context(), value)).Kvs; len(kvs) != 1 || kvs[0].Version != 1 {
							t.Errorf("the value: %v", kvs)
						}
						if waits {
							locktest.Must(t, <-next)
						}
						locktest.Release(t, locktest.Acquire(t, b, key))
					})
				})
			}
		}
	}
}

func TestARequestWhoseAnswerIsLostIsMadeOnce(t *testing.T) {
	for name, f := range map[string]etcdsim.Fate{
		"request lost": {Lose: etcdsim.Request}, "answer lost": {Lose: etcdsim.Answer},
		"request swallowed": {Lose: etcdsim.Request, Hang: true}, "answer swallowed": {Lose: etcdsim.Answer, Hang: true},
		"late": {Lose: etcdsim.Request, Hang: true, Late: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
				c := sim.NewClient("b")
				a, b := locktest.New(t, sim.NewClient("a").Client), locktest.New(t, c.Client, locker.WithOwner("b"))
				h := locktest.Acquire(t, a, key)
				var left atomic.Int64
				left.Store(1)
				c.SetPlan(func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
					if txn, ok := call.Request.(*pb.TxnRequest); ok && strings.Contains(txn.String(), "reason") && left.Add(-1) >= 0 {
						return f
					}
					return etcdsim.Fate{}
				})
				request(t, b, "reason")
				wantRequest(t, h, 3*time.Second, "b", "reason")
				time.Sleep(10 * time.Second)
				if kv := queue(t, c.Client, "elock")[0]; kv.Version != 2 {
					t.Errorf("put %d times", kv.Version)
				}
				locktest.Release(t, h)
			})
		})
	}
}

// Evict comes after patience.
func TestWhoIsAskedCanBeEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t)
		h := locktest.Acquire(t, a, key)
		request(t, b, "reason")
		wantRequest(t, h, 3*time.Second, "b", "reason")
		if done, err := b.Evict(t.Context(), key); !done || err != nil {
			t.Fatal(done, err)
		}
		<-h.Context().Done()
		locktest.WantLost(t, h.Err(), locker.ReasonEvicted)
	})
}

// The lock of one that is asked goes to etcd, so that others may have it, and the next hold is not asked.
func TestALockThatIsAskedForIsNotHandedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := lockertest.NewPair(t, locker.WithHandoff(100*time.Millisecond))
		h := locktest.Acquire(t, a, key)
		time.Sleep(3 * time.Second)
		request(t, b, "reason")
		wantRequest(t, h, time.Second, "b", "reason")
		next := acquiring(t.Context(), a, key)
		synctest.Wait()
		locktest.Release(t, h)
		n := granted(t, next)
		if n.Token()>>16 == h.Token()>>16 {
			t.Error("handed on")
		}
		time.Sleep(5 * time.Second)
		if requested(n) {
			t.Error("the next hold is asked")
		}
		locktest.Release(t, n)
	})
}

type endHook struct {
	locker.NopHook
	ends chan locker.HoldEndData
}

func (h endHook) HoldEnd(_ context.Context, d locker.HoldEndData) { h.ends <- d }

func TestHooksHearThatTheLockWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hook := endHook{ends: make(chan locker.HoldEndData, 1)}
		l := lockertest.New(t, locker.WithHook(hook))
		for _, asked := range []bool{false, true} {
			h := locktest.Acquire(t, l, key)
			if asked {
				request(t, l, "reason")
				wantRequest(t, h, 3*time.Second, "a", "reason")
			}
			locktest.Release(t, h)
			if d := <-hook.ends; d.Requested != asked {
				t.Errorf("%+v", d)
			}
		}
	})
}

func TestARequestThatEtcdDoesNotAnswerSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lockertest.New(t)
		lockertest.Disconnect(l)
		began := time.Now()
		_, err := l.RequestRelease(t.Context(), key, "reason")
		if !errors.Is(err, locker.ErrUnavailable) || time.Since(began) > 6*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		lockertest.Reconnect(l)
	})
}

func TestAHolderInARealEtcdHearsThatSomebodyAsks(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := s.Prefix(t)
	a := newLocker(t, s.Client(t), locker.WithPrefix(prefix))
	b := newLocker(t, s.Client(t), locker.WithPrefix(prefix), locker.WithOwner("b"))
	h := locktest.Acquire(t, a, key)
	request(t, b, "reason")
	wantRequest(t, h, locktest.Wait, "b", "reason")
	locktest.Release(t, h)
	locktest.Release(t, locktest.Acquire(t, b, key))
}
