package locker_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// A stuckHandler handles no record before its gate is open: as one that writes to
// a pipe that nobody reads.
type stuckHandler struct {
	slog.Handler
	gate chan struct{}
}

func (s stuckHandler) Handle(context.Context, slog.Record) error { <-s.gate; return nil }

func TestALoggerThatIsStuckDelaysNoLossAndNoRenewal(t *testing.T) {
	simtest.Bubble(t, func(t *testing.T, sim *etcdsim.Sim) {
		c, gate := sim.NewClient("a"), make(chan struct{})
		stuck := slog.New(stuckHandler{slog.NewTextHandler(io.Discard, nil), gate})
		l := newLocker(t, c.Client, locker.WithLogger(stuck), locker.WithTTL(10*time.Second))
		var holds []*locker.Hold
		for i := range 200 { // under some leases
			holds = append(holds, locktest.Acquire(t, l, keyspace.MustNew[int]("n").Key(i)))
		}
		c.Partition()
		time.Sleep(8 * time.Second) // renewals fail, as is logged
		c.Heal()
		time.Sleep(time.Minute)
		for _, h := range holds {
			locktest.WantErr(t, h.Err(), nil)
		}
		c.Partition()
		time.Sleep(9*time.Second + 100*time.Millisecond)
		for _, h := range holds {
			if h.Context().Err() == nil {
				t.Fatal("a loss is not told")
			}
		}
		c.Heal()
		close(gate)
	})
}
