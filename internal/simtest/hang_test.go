package simtest

import (
	"context"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest/leak"
)

// Watches that are refused at once make etcd's client hang now and then. That ends no run of seeds.
func TestASeedOutlivesTheHangOfEtcdsClient(t *testing.T) {
	for seed := range uint64(50) {
		Play(t, seed, func(w *World) {
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(context.Background(), time.Second)
					defer cancel()
					w.Operator.Watch(ctx, "k", clientv3.WithRev(-1)) // refused, or no answer
				})
			}
			wg.Wait()
		})
	}
	if err := leak.Find(); err != nil {
		t.Errorf("it is no excuse for what is left over: %v", err)
	}
}
