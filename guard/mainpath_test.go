package guard_test

import (
	"context"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/locker"
)

// Two processes count together, before and after what happens midway.
func TestAGuardedValueIsKeptOnEachWayToEtcd(t *testing.T) {
	t.Parallel()
	for name, start := range etcdtest.Ways() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			way := start(t)
			var clients []*clientv3.Client
			var counts []*guard.Guard[int]
			for range 2 {
				c := way.Client(t)
				clients = append(clients, c)
				counts = append(counts, counter(newLocker(t, c, locker.WithPrefix(way.Prefix))))
			}
			w := watch(t, t.Context(), counts[0])
			n := 0
			count := func() {
				for _, g := range counts {
					got, err := g.Update(t.Context(), func(_ context.Context, n int) (int, error) { return n + 1, nil })
					wantErr(t, err, nil)
					n++
					if got != n {
						t.Errorf("counted %d, want %d", got, n)
					}
				}
				for seen := 0; seen != n; { // it may pass over values
					y := receive(t, w)
					if y.err != nil {
						t.Fatalf("the watch: %v", y.err)
					}
					seen = y.Value
				}
			}
			count()
			way.Midway(t, clients...)
			count()
			for _, g := range counts {
				got, err := g.Get(t.Context())
				wantErr(t, err, nil)
				if got != n {
					t.Errorf("read %d, want %d", got, n)
				}
			}
		})
	}
}
