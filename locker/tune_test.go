package locker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func BenchmarkTune(b *testing.B) {
	s := etcdtest.Start(b)
	for _, n := range []int{1, 2, 16, 64, 256} {
		for _, impl := range []string{"batch", "alone"} {
			b.Run(fmt.Sprintf("goroutines=%d/impl=%s", n, impl), func(b *testing.B) {
				opts := []locker.Option{locker.WithPrefix(s.Prefix(b))}
				if impl == "alone" {
					opts = append(opts, locker.WithoutBatching())
				}
				l := newLocker(b, s.Client(b), opts...)
				space := keyspace.MustNew[int]("tune")
				b.ResetTimer()
				var wg sync.WaitGroup
				for g := range n {
					k := space.Key(g)
					wg.Go(func() {
						for i := g; i < b.N; i += n {
							h, err := l.Acquire(context.Background(), k)
							if err != nil {
								b.Error(err)
								return
							}
							if err := h.Release(context.Background()); err != nil {
								b.Error(err)
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pairs/s")
			})
		}
	}
}
