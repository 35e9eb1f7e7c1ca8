package work

import (
	"context"
	"slices"
	"testing"
	"time"
)

// PairInTurns is Pair in turns with a limit: what else the machine does happens to both. The figures are medians.
func PairInTurns(b *testing.B, s *Site, impl, limit Impl) {
	const turn = 50
	mine, its := impl.Open(b, s)()(0), limit.Open(b, s)()(0)
	pairs := func(l Lock, n int) float64 {
		took := make([]float64, n)
		for i := range took {
			began := time.Now()
			if err := l.Lock(b.Context()); err != nil {
				b.Fatal(err)
			}
			if err := l.Unlock(b.Context()); err != nil {
				b.Fatal(err)
			}
			took[i] = float64(time.Since(began))
		}
		return median(took)
	}
	pairs(mine, 1) // grants leases
	pairs(its, 1)
	var own, limits, ratios []float64
	b.ResetTimer()
	for left := b.N; left > 0; left -= turn {
		n := min(turn, left)
		a, z := pairs(mine, n), pairs(its, n)
		own, limits, ratios = append(own, a), append(limits, z), append(ratios, a/z)
	}
	b.StopTimer()
	compared(b, median(own), median(limits), median(ratios))
}

// HandoverInTurns is clients that hold one key for a moment each, so that another waits for it when it is released; in turns
// with a limit. The figures are medians.
func HandoverInTurns(b *testing.B, s *Site, impl, limit Impl, clients int) {
	const (
		moment = 2 * time.Millisecond
		rounds = 10 // of each client in a turn
	)
	mine, its := contend(b, s, impl, clients, 1), contend(b, s, limit, clients, 1)
	for _, m := range slices.Concat(mine, its) {
		m.stays = moment
	}
	turn := func(members []*member, rounds int) {
		members[0].crowd.last.Store(nil) // the pause until now is no hand-over
		if err := take(b.Context(), members, rounds); err != nil {
			b.Fatal(err)
		}
	}
	turn(mine, 1) // grants leases
	turn(its, 1)
	for _, m := range slices.Concat(mine, its) {
		m.handovers = histogram{}
	}
	b.ResetTimer()
	for left := b.N; left > 0; left -= rounds * clients {
		turn(mine, rounds)
		turn(its, rounds)
	}
	b.StopTimer()
	own, limits := handovers(mine), handovers(its)
	a, z := float64(own.quantile(0.5)), float64(limits.quantile(0.5))
	compared(b, a, z, a/z)
}

// take lets each member do so many rounds.
func take(ctx context.Context, members []*member, rounds int) error {
	return together(ctx, members, func(ctx context.Context, m *member) error {
		for range rounds {
			if err := m.round(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

func compared(b *testing.B, own, limit, ratio float64) {
	b.ReportMetric(own, "ns/op")
	b.ReportMetric(limit, "limit-ns")
	b.ReportMetric(ratio, "x-limit")
}

// median sorts vs.
func median(vs []float64) float64 {
	slices.Sort(vs)
	return (vs[(len(vs)-1)/2] + vs[len(vs)/2]) / 2
}
