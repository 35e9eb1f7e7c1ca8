package simtest

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// A Profile is what may go wrong in a run.
type Profile int

const (
	Calm     Profile = iota // messages take time, and nothing goes wrong but what users and operators do
	Lossy                   // messages are lost or late, and their senders are told
	Network                 // messages are lost, late and cut off
	Cluster                 // etcd loses its leader, compacts, breaks watches, and its lease clock is fast
	Storm                   // all of that
	Profiles                // how many there are
)

// CutsOff reports whether processes lose their way to etcd.
func (p Profile) CutsOff() bool { return p == Network || p == Storm }

// Shakes reports whether the cluster itself is in trouble.
func (p Profile) Shakes() bool { return p == Cluster || p == Storm }

// Safe reports whether a holder knows of its loss before another holds.
func (p Profile) Safe() bool { return p <= Network }

// Passing are refusals that say nothing of the request.
var Passing = []error{
	rpctypes.ErrGRPCRequestTooManyRequests,
	rpctypes.ErrGRPCTimeout,
	rpctypes.ErrGRPCTimeoutDueToLeaderFail,
	rpctypes.ErrGRPCTimeoutDueToConnectionLost,
	rpctypes.ErrGRPCLeaderChanged,
	status.Error(codes.Unavailable, "upstream connect error or disconnect/reset before headers"),
	status.Error(codes.Unknown, "raft proposal dropped"),
}

// Messages returns how messages travel.
func (w *World) Messages() etcdsim.Faults {
	f := etcdsim.Faults{MinDelay: 50 * time.Microsecond, MaxDelay: 5 * time.Millisecond}
	if w.Profile == Lossy {
		f.LoseRequest, f.LoseAnswer = 0.03, 0.03
		f.Late, f.MaxLate = 1, w.Span(time.Second, 10*time.Second)
	}
	if w.Profile.CutsOff() {
		f.MaxDelay = w.Span(5*time.Millisecond, 500*time.Millisecond)
		f.LoseRequest, f.LoseAnswer = w.Float64()*0.05, w.Float64()*0.05
		f.Late, f.MaxLate = 0.5, w.Span(time.Millisecond, 10*time.Second)
		f.Hang = w.Float64()
	}
	return f
}

// Refuse has f refuse single calls for a passing reason, some of them carried out.
func (w *World) Refuse(f *etcdsim.Faults) {
	f.Refuse, f.Refusals, f.Carried = w.Float64()*0.05, Passing, 0.5
}

// Torment causes one fault of these kinds after another until the end, with a pause of at most that long before each.
func (w *World) Torment(pause time.Duration, kinds ...func()) {
	for {
		time.Sleep(w.Span(time.Millisecond, pause))
		if time.Now().After(w.End) {
			return
		}
		w.Mu.Lock()
		w.Faults++
		w.Mu.Unlock()
		kinds[w.IntN(len(kinds))]()
	}
}

// CalmDown ends all faults, and lets what is on its way arrive. All processes can reach etcd again, the dead ones too: Close of
// etcd's client hangs if a watch is refused just then.
func (w *World) CalmDown() {
	w.Sim.SetPlan(nil)
	w.Sim.SetLeaseClock(0)
	w.Mu.Lock()
	processes := w.processes
	w.Mu.Unlock()
	for _, p := range processes {
		p.Client.Heal()
	}
	time.Sleep(time.Minute) // pauses, leaderless times and late messages end by themselves
}

// Cut cuts a process off for a while.
func (w *World) Cut() {
	p, d := w.Anyone(), w.Span(time.Millisecond, 30*time.Second)
	if p.Dead.Load() {
		return
	}
	w.Logf("fault: %s is cut off for %v", p.Name, d)
	p.Client.Partition()
	time.Sleep(d)
	if !p.Dead.Load() {
		p.Client.Heal()
		w.Logf("fault: %s is back", p.Name)
	}
}

// Pause has the messages of a process stand still for a while.
func (w *World) Pause() {
	p, d := w.Anyone(), w.Span(time.Millisecond, 10*time.Second)
	w.Logf("fault: the messages of %s stand still for %v", p.Name, d)
	p.Client.Pause(d)
}

// BreakStreams breaks the streams of a process.
func (w *World) BreakStreams() {
	p := w.Anyone()
	w.Logf("fault: the streams of %s break", p.Name)
	p.Client.BreakStreams()
}

// LoseLeader leaves etcd without a leader for a while.
func (w *World) LoseLeader() {
	d := w.Span(time.Millisecond, 10*time.Second)
	w.Logf("fault: no leader for %v", d)
	w.Sim.LoseLeader(d)
}

// Compact has etcd forget its past.
func (w *World) Compact() {
	w.Logf("fault: compaction")
	w.Sim.Compact()
}

// BreakWatches ends all watches.
func (w *World) BreakWatches() {
	w.Logf("fault: all watches break")
	w.Sim.BreakWatches()
}

// HurryLeases has leases end up to 7 % too early, until another call.
func (w *World) HurryLeases() {
	percent := float64(w.IntN(8))
	w.Logf("fault: leases run %v%% faster", percent)
	w.Sim.SetLeaseClock(percent)
}

// Crash is the end of a process: nobody hears of it any more, and it hears of nobody. It reports whether the process lived.
func (w *World) Crash(p *Process) bool {
	if p.Dead.Swap(true) {
		return false
	}
	p.Client.Partition()
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.Crashes++
	w.Log("fault: %s is dead", p.Name)
	return true
}

// Vandalize deletes the entry of the holder of k by hand.
func (w *World) Vandalize(k keyspace.Key) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	resp, err := w.Operator.Get(ctx, k.Path(locker.DefaultPrefix), clientv3.WithPrefix(),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend), clientv3.WithLimit(1))
	if err != nil || len(resp.Kvs) == 0 {
		return
	}
	w.Logf("fault: %s is deleted by hand", resp.Kvs[0].Key)
	_, _ = w.Operator.Delete(ctx, string(resp.Kvs[0].Key))
}

// Fill leaves etcd without space for a while, or from the next request that needs some, which is carried out.
func (w *World) Fill() {
	d, crossing := w.Span(time.Millisecond, 5*time.Second), w.Chance(0.7)
	w.Logf("fault: no space for %v, from the next request %v", d, crossing)
	if crossing {
		w.Sim.CrossQuota()
	} else {
		w.Sim.SetAlarm(pb.AlarmType_NOSPACE, true)
	}
	time.Sleep(d)
	w.Sim.SetAlarm(pb.AlarmType_NOSPACE, false)
}
