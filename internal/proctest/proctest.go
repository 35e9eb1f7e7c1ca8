// Package proctest has, for tests, what one process has below its locks: a client, batches, leases and feeds, on an etcd in memory
// and in virtual time. A test of a package that proctest does not import may be inside of that package.
package proctest

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/internal/batch"
	"github.com/phpgao/elock/internal/calls"
	"github.com/phpgao/elock/internal/clock"
	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/feed"
	"github.com/phpgao/elock/internal/lease"
	"github.com/phpgao/elock/internal/xctx"
)

var (
	// ErrUnheard is the cause of contexts that end because etcd is silent.
	ErrUnheard = errors.New("unheard")
	// ErrLost is the cause of the contexts of a lost lease.
	ErrLost = errors.New("lease lost")
)

// A Process is one process, and Other another one, without anything of its own.
type Process struct {
	Sim         *etcdsim.Sim
	Mine, Other *etcdsim.Client

	Base  context.Context
	End   context.CancelFunc // ends Base
	Spawn func(func()) bool

	Etcd   *calls.Client
	Batch  *batch.Batcher
	Feeds  *feed.Hub
	Leases *lease.Set
	Log    *slog.Logger

	mu  sync.Mutex
	log bytes.Buffer
}

// Run runs f with a Process whose calls have the fates of plan, in virtual time. It waits for what the Process has spawned.
func Run(t *testing.T, plan etcdsim.Plan, f func(t *testing.T, p *Process)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		sim := etcdsim.New(1)
		defer sim.Close()
		p := &Process{Sim: sim, Mine: sim.NewClient("mine"), Other: sim.NewClient("other")}
		p.Mine.SetPlan(plan)
		p.Base, p.End = context.WithCancel(context.Background())
		var goroutines sync.WaitGroup
		defer goroutines.Wait()
		defer p.End()
		p.Spawn = func(f func()) bool {
			if p.Base.Err() != nil {
				return false
			}
			goroutines.Go(f)
			return true
		}
		p.Log = slog.New(slog.NewTextHandler(p, nil))
		p.Etcd = calls.New(p.Mine.Client, ErrUnheard)
		p.Feeds = feed.NewHub(feed.Config{Watcher: p.Mine.Watcher, Base: p.Base, Spawn: p.Spawn})
		p.Batch = batch.New(batch.Config{Txn: p.Etcd.Txn, Limits: xctx.NewLimiter(p.Base), Silent: p.Etcd.NoteSilence, Spawn: p.Spawn})
		p.Leases = lease.NewSet(lease.Config{
			Lease: p.Etcd.Lease(), Stream: p.Etcd.Renewals(), Base: p.Base, Drain: p.Base, Grants: p.Base, Spawn: p.Spawn, Now: clock.Read,
			Cause: func(lease.Loss) error { return ErrLost }, OnLost: func(*lease.Lease, lease.Loss) {}, OnRisk: func(*lease.Lease) {},
			Silent: ErrUnheard, KeepFor: func(int64) time.Duration { return time.Hour }, Log: p.Log,
		})
		f(t, p)
	})
}

// Write takes what is logged.
func (p *Process) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(line)
}

// Logged reports whether the log has a text.
func (p *Process) Logged(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Contains(p.log.String(), text)
}

// Must returns v, and panics if there is an error.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
