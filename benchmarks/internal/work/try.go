package work

import (
	"errors"
	"testing"

	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/phpgao/elock/locker"
)

var errHeld = errors.New("work: held")

// Try is one goroutine that tries a lock which another process holds.
func Try(b *testing.B, s *Site, impl Impl) {
	ctx := b.Context()
	if err := impl.Open(b, s)()(0).Lock(ctx); err != nil {
		b.Fatal(err)
	}
	lock := impl.Open(b, s)()(0).(Trier)
	try := func() {
		err := lock.TryLock(ctx)
		if !errors.Is(err, locker.ErrLocked) && !errors.Is(err, concurrency.ErrLocked) && !errors.Is(err, errHeld) {
			b.Fatalf("a try of a held lock: %v", err)
		}
	}
	try()
	sent, n := s.count(), 0
	for b.Loop() {
		try()
		n++
	}
	b.ReportMetric(float64(s.count()-sent)/float64(n), "sent/try")
}
