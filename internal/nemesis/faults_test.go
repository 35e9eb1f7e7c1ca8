package nemesis_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
)

// A hand causes faults of one sort, one after the other. Several hands at once make the worst days.
type hand struct {
	*world
	rng  *rand.Rand
	deck []fault // to come
	all  []fault

	lasting bool          // its faults disturb more than the locks they strike
	rest    time.Duration // between faults, at most
}

// hands have the faults that w can suffer. Each begins with those that no run may miss.
func (w *world) hands(who uint64) []*hand {
	all := []*hand{
		{world: w, all: memberFaults, deck: named(memberFaults, memberSilent), lasting: true},
		{world: w, all: clientFaults, lasting: true},
		{world: w, all: operatorFaults},
		{world: w, all: spaceFaults, deck: spaceFaults, lasting: true},
	}
	for _, h := range all {
		h.rest = 2 * time.Second
	}
	all[3].rest = 10 * time.Second // they leave little to do for clients
	if w.tokens != "" {
		all[1].all = slices.Concat(clientFaults, passwordFaults)
		all[3].all = slices.Concat(spaceFaults, authFaults)
	}
	for i, h := range all {
		h.rng = choices(who, uint64(i))
	}
	return all
}

func named(all []fault, name string) []fault {
	return slices.DeleteFunc(slices.Clone(all), func(f fault) bool { return f.name != name })
}

// A fault does harm, for some time or until ctx is done, and makes it good.
type fault struct {
	name   string
	strike func(h *hand, ctx context.Context)
}

// torment causes faults until ctx is done, each as often as the others.
func (h *hand) torment(ctx context.Context) {
	for ctx.Err() == nil {
		if len(h.deck) == 0 {
			h.deck = append(h.deck, h.all...)
			h.rng.Shuffle(len(h.deck), func(i, j int) { h.deck[i], h.deck[j] = h.deck[j], h.deck[i] })
		}
		f := h.deck[0]
		h.deck = h.deck[1:]
		from := now()
		f.strike(h, ctx)
		h.happened(window{f.name, from, now()}, h.lasting)
		idle(ctx, h.span(0, h.rest))
	}
}

// span draws a duration, more often a short one.
func (h *hand) span(min, max time.Duration) time.Duration {
	f := h.rng.Float64()
	return min + time.Duration(float64(max-min)*f*f)
}

// evenSpan draws a duration; every one is as likely.
func (h *hand) evenSpan(min, max time.Duration) time.Duration {
	return min + time.Duration(float64(max-min)*h.rng.Float64())
}

func (h *hand) member() *etcdtest.Member { return h.cluster.Members()[h.rng.IntN(members)] }

func (h *hand) leader() *etcdtest.Member { return h.cluster.Leader(h.t) }

// others are the members without m.
func (h *hand) others(m *etcdtest.Member) []*etcdtest.Member {
	var all []*etcdtest.Member
	for _, x := range h.cluster.Members() {
		if x != m {
			all = append(all, x)
		}
	}
	return all
}

// operate does something in etcd, which may fail: other hands are at work.
func (h *hand) operate(ctx context.Context, f func(context.Context, *clientv3.Client) error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := f(ctx, h.operator); err != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.vain++
	}
}

// insist does something in etcd until it is done: what other hands do passes. f may find that it was done before.
func (w *world) insist(what string, f func(context.Context, *clientv3.Client) error) {
	end := time.Now().Add(recovery)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := f(ctx, w.operator)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			w.t.Errorf("%s: %v", what, err)
			return
		}
		idle(context.Background(), 100*time.Millisecond)
	}
}
