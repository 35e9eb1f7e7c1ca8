package nemesis_test

import (
	"context"
	"time"

	"github.com/phpgao/elock/internal/etcdtest"
)

// seat is any, or one whose client seems to hold a lock.
func (h *hand) seat() *seat {
	any, key, holder := h.seats[h.rng.IntN(len(h.seats))], h.rng.IntN(keys), h.rng.IntN(3) > 0
	if holder {
		id := h.store.last(key)
		for _, s := range h.seats {
			if s.id == id {
				return s
			}
		}
	}
	return any
}

// network makes the network of one client bad: to all members, or to one.
func (h *hand) network(ctx context.Context, worsen func(*etcdtest.Proxied)) {
	proxies := h.seat().proxies
	if h.rng.IntN(3) == 0 {
		one := h.rng.IntN(members)
		proxies = proxies[one : one+1]
	}
	for _, p := range proxies {
		worsen(p)
		defer p.Heal(h.t)
	}
	idle(ctx, h.evenSpan(100*time.Millisecond, 8*time.Second))
}

// clientFaults strike clients and their connections.
var clientFaults = []fault{
	{"client killed", func(h *hand, ctx context.Context) { h.killClients(ctx, h.seat()) }},
	{"all clients killed", func(h *hand, ctx context.Context) { h.killClients(ctx, h.seats...) }},
	{"client ended", func(h *hand, ctx context.Context) {
		s := h.seat()
		s.finish()
		s.launch()
	}},
	{"client paused", func(h *hand, ctx context.Context) { h.pauseClients(ctx, h.seat()) }},
	{"client paused", func(h *hand, ctx context.Context) { h.pauseClients(ctx, h.seat()) }},
	{"all clients paused", func(h *hand, ctx context.Context) { h.pauseClients(ctx, h.seats...) }},
	{"connections cut", func(h *hand, ctx context.Context) {
		h.network(ctx, func(p *etcdtest.Proxied) { p.Cut(h.t) })
	}},
	{"connections silent", func(h *hand, ctx context.Context) {
		h.network(ctx, func(p *etcdtest.Proxied) { p.BlackHole(h.t) })
	}},
	{"connections slow", func(h *hand, ctx context.Context) {
		delay := h.span(time.Millisecond, 500*time.Millisecond)
		h.network(ctx, func(p *etcdtest.Proxied) { p.Delay(h.t, delay, delay/2) })
	}},
	{"connections flapping", func(h *hand, ctx context.Context) {
		s := h.seat()
		for range 1 + h.rng.IntN(5) {
			for _, p := range s.proxies {
				p.Cut(h.t)
				p.Heal(h.t)
			}
			idle(ctx, h.span(0, time.Second))
		}
	}},
}

func (h *hand) killClients(ctx context.Context, victims ...*seat) {
	for _, s := range victims {
		s.kill()
	}
	idle(ctx, h.span(0, 5*time.Second))
	for _, s := range victims {
		s.launch()
	}
}

// pauseClients stops clients, at times for longer than any lease lives.
func (h *hand) pauseClients(ctx context.Context, victims ...*seat) {
	for _, s := range victims {
		if err := s.proc.Pause(); err != nil {
			h.t.Error(err)
		}
	}
	idle(ctx, h.evenSpan(100*time.Millisecond, 9*time.Second))
	for _, s := range victims {
		if err := s.proc.Resume(); err != nil {
			h.t.Error(err)
		}
	}
}
