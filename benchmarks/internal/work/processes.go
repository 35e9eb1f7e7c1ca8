package work

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/etcdtest/mode"
)

// clientVar makes a test binary a client of HotProcesses; its value is the client's seat, in JSON.
const clientVar = "ELOCK_BENCHMARK_CLIENT"

// Main is the TestMain of a package that has HotProcesses.
func Main(m *testing.M) {
	if encoded := os.Getenv(clientVar); encoded != "" {
		live(encoded)
		return
	}
	etcdtest.Main(m)
}

// What processes of their own can lock with.
const (
	ElockProcesses  = "elock-processes"
	NoticeProcesses = "write+notice-processes"
	SharedProcesses = "elock-shared-processes" // the first wants the key alone, all others share it
)

// A seat is what a client is to be.
type seat struct {
	Impl         string
	Endpoints    []string
	Prefix       string
	Place, Seats int
}

func (s seat) impl() Impl {
	switch {
	case s.Impl == NoticeProcesses:
		return writeAndNotice(s.Impl, s.Seats, s.Place)
	case s.reads():
		return elockShared(s.Impl)
	}
	return Elock(s.Impl)
}

// reads reports whether the client shares the lock with others.
func (s seat) reads() bool { return s.Impl == SharedProcesses && s.Place > 0 }

// A stint is what a client did: when it had the lock and when it began to release it, by the clock of the machine, turn by
// turn, and how many messages it sent.
type stint struct {
	Had, Released []int64
	Sent          int64
}

// live is the life of a client. It does as many rounds as each line of its input says.
func live(encoded string) {
	tb := &noTest{}
	defer tb.end()
	var seat seat
	if err := json.Unmarshal([]byte(encoded), &seat); err != nil {
		tb.Fatal(err)
	}
	s := &Site{prefix: seat.Prefix, dial: func(tb testing.TB, edits ...func(*clientv3.Config)) *clientv3.Client {
		cfg := clientv3.Config{Endpoints: seat.Endpoints}
		for _, edit := range edits {
			edit(&cfg)
		}
		client, err := clientv3.New(cfg)
		if err != nil {
			tb.Fatal(err)
		}
		closing(tb, client.Close)
		return client
	}}
	lock := seat.impl().Open(tb, s)()(0)
	out := json.NewEncoder(os.Stdout)
	out.Encode(stint{})
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var rounds int
		if _, err := fmt.Sscan(in.Text(), &rounds); err != nil {
			tb.Fatal(err)
		}
		did := stint{Had: make([]int64, rounds), Released: make([]int64, rounds)}
		sent := s.count()
		for i := range rounds {
			if err := lock.Lock(tb.Context()); err != nil {
				tb.Fatal(err)
			}
			did.Had[i] = time.Now().UnixNano()
			did.Released[i] = time.Now().UnixNano()
			if err := lock.Unlock(tb.Context()); err != nil {
				tb.Fatal(err)
			}
		}
		did.Sent = s.count() - sent
		out.Encode(did)
	}
}

// HotProcesses is Hot with an operating system's process for each client, so that they share nothing, and no scheduler.
func HotProcesses(b *testing.B, s *Site, impl string, processes int) {
	if mode.Auth() {
		b.Skip("the processes have no password")
	}
	clients := make([]*remote, processes)
	for i := range clients {
		clients[i] = launch(b, seat{Impl: impl, Endpoints: s.endpoints, Prefix: s.prefix, Place: i, Seats: processes})
	}
	for _, c := range clients { // are there all
		if err := c.out.Decode(&c.did); err != nil {
			b.Fatal(err)
		}
	}
	rounds := func(n int) {
		var g errgroup.Group
		for _, c := range clients {
			g.Go(func() error { return c.rounds(n) })
		}
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
	}
	rounds(1) // grants leases
	n := (b.N + processes - 1) / processes
	b.ResetTimer()
	rounds(n)
	b.StopTimer()
	reportTurns(b, clients)
}

// reportTurns sees that the clients excluded each other, and reports the hand-overs.
func reportTurns(b *testing.B, clients []*remote) {
	var turns []turn
	var sent int64
	for _, c := range clients {
		sent += c.did.Sent
		for i := range c.did.Had {
			turns = append(turns, turn{c, c.did.Had[i], c.did.Released[i]})
		}
	}
	took, err := handoversOf(turns)
	if err != nil {
		b.Fatal(err)
	}
	report(b, took)
	b.ReportMetric(float64(len(turns))/b.Elapsed().Seconds(), "locks/s")
	b.ReportMetric(float64(sent)/float64(len(turns)), "sent/lock")
}

// A turn is a hold of a client, by the clock of the machine.
type turn struct {
	of            *remote
	had, released int64
}

// handoversOf is how long hand-overs took, as crowd has it.
func handoversOf(turns []turn) (took histogram, _ error) {
	slices.SortFunc(turns, func(a, z turn) int { return cmp.Compare(a.had, z.had) })
	var free, alone int64 // when the last of all holds so far ended, and of those that do not share
	for i, t := range turns {
		if t.had < alone || !t.of.reads && t.had < free {
			return took, errTwo
		}
		if i > 0 && t.of != turns[i-1].of && !(t.of.reads && turns[i-1].of.reads) {
			took.add(time.Duration(t.had - free))
		}
		free = max(free, t.released)
		if !t.of.reads {
			alone = t.released
		}
	}
	return took, nil
}

// remote is a client that runs.
type remote struct {
	in    *os.File
	out   *json.Decoder
	did   stint
	reads bool
}

func launch(b *testing.B, seat seat) *remote {
	b.Helper()
	encoded, err := json.Marshal(seat)
	if err != nil {
		b.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	ctx, kill := context.WithCancel(context.Background()) // that of b is done before it cleans up
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), clientVar+"="+string(encoded))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	theirs, in, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer theirs.Close()
	cmd.Stdin = theirs
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close() // so it ends, unless the benchmark failed
		defer time.AfterFunc(10*time.Second, kill).Stop()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	return &remote{in: in, out: json.NewDecoder(out), reads: seat.reads()}
}

func (r *remote) rounds(n int) error {
	if _, err := fmt.Fprintln(r.in, n); err != nil {
		return err
	}
	r.did = stint{}
	return r.out.Decode(&r.did)
}

// noTest is the testing.TB of a process that is no test.
type noTest struct {
	testing.TB // nil: only the methods below are called
	cleanups   []func()
}

func (n *noTest) Helper()                  {}
func (n *noTest) Context() context.Context { return context.Background() }
func (n *noTest) Skipped() bool            { return false }
func (n *noTest) Cleanup(f func())         { n.cleanups = append(n.cleanups, f) }
func (n *noTest) Error(args ...any)        { fmt.Fprintln(os.Stderr, args...) }

func (n *noTest) Fatal(args ...any) {
	n.Error(args...)
	os.Exit(1)
}

func (n *noTest) end() {
	for _, f := range slices.Backward(n.cleanups) {
		f()
	}
}
