package calls

import (
	"context"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/internal/etcdsim"
)

// silent lets calls fail for want of etcd for some seconds, and returns whether that is known.
func (b *bed) silent(t *testing.T, call func(ctx context.Context) error, fate etcdsim.Fate, patience time.Duration) bool {
	t.Helper()
	b.fate = func(int64) etcdsim.Fate { return fate }
	for began := time.Now(); time.Since(began) < 4*time.Second; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if call(ctx) == nil {
			t.Error("it is answered")
		}
		cancel()
	}
	since, err := b.Silence()
	if since.IsZero() != (err == nil) || err != nil && time.Since(since) < 3*time.Second {
		t.Errorf("silent for %v: %v", time.Since(since), err)
	}
	return err != nil
}

func TestCallsTellWhetherEtcdAnswers(t *testing.T) {
	calls := map[string]func(b *bed) func(ctx context.Context) error{
		"transaction": func(b *bed) func(ctx context.Context) error {
			return func(ctx context.Context) error { _, err := b.put(ctx); return err }
		},
		"transaction sent twice": func(b *bed) func(ctx context.Context) error {
			return func(ctx context.Context) error { b.NoteSilence(); _, err := b.put(ctx); return err }
		},
		"grant": func(b *bed) func(ctx context.Context) error {
			return func(ctx context.Context) error { _, err := b.Lease().Grant(ctx, 10); return err }
		},
		"revocation": func(b *bed) func(ctx context.Context) error {
			return func(ctx context.Context) error { _, err := b.Lease().Revoke(ctx, 1); return err }
		},
	}
	for name, make := range calls {
		for what, it := range map[string]struct {
			fate     etcdsim.Fate
			patience time.Duration
			want     bool
		}{
			"silent":            {etcdsim.Fate{Send: time.Minute}, time.Second, true},
			"given up soon":     {etcdsim.Fate{Send: time.Minute}, 50 * time.Millisecond, false},
			"refused, passing":  {etcdsim.Fate{Refuse: rpctypes.ErrGRPCNoLeader}, time.Second, true},
			"refused, for good": {etcdsim.Fate{Refuse: rpctypes.ErrGRPCPermissionDenied}, time.Second, false},
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				inBed(t, func(t *testing.T, b *bed) {
					call := make(b)
					if got := b.silent(t, call, it.fate, it.patience); got != it.want {
						t.Errorf("known as silent: %v", got)
					}
					if !it.want {
						return
					}
					b.fate = func(int64) etcdsim.Fate { return etcdsim.Fate{Refuse: rpctypes.ErrGRPCPermissionDenied} }
					_ = call(t.Context())
					if since, err := b.Silence(); err != nil {
						t.Errorf("silent since %v after a refusal: %v", since, err)
					}
				})
			})
		}
	}
}
