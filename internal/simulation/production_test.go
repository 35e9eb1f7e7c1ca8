package simulation_test

import (
	"bytes"
	"errors"
	"flag"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/simtest"
	"github.com/phpgao/elock/keyspace"
)

// What production does besides what a profile does. About half of the seeds have each, in the profiles named here.
const (
	limits     = "limits"          // all: etcd takes small requests only
	noSpace    = "nospace"         // lossy, cluster, storm: the alarm, also of a request that is carried out
	corrupt    = "corrupt"         // cluster, storm: the alarm
	refusals   = "refusals"        // lossy, cluster, storm: single calls are refused at once, for a passing reason
	denied     = "denied"          // cluster, storm: one key is refused for seconds; operations on others must not hear of it
	blackHole  = "black-hole"      // network, storm: all calls of one process vanish for seconds
	slowHooks  = "slow-hooks"      // all: a second hook that takes its time
	panicHooks = "panicking-hooks" // all: or panics
	tokens     = "tokens"          // all: tokens die, under calls and under streams
	steadfast  = "steadfast"       // calm: as refusals, and no operation may fail for them
	silentLoss = "silent-loss"     // lossy: nobody is told of some losses
)

var allOnes = []string{limits, noSpace, corrupt, refusals, denied, blackHole, slowHooks, panicHooks, tokens, steadfast, silentLoss}

var faults = flag.String("faults", strings.Join(allOnes, ","), `what production does besides, or "all": `+strings.Join(allOnes, ","))

// chooseFaults draws which of them the seed has. What it has does not depend on which others are asked for.
func (w *world) chooseFaults() {
	asked := strings.Split(*faults, ",")
	if *faults == "all" {
		asked = allOnes
	}
	for _, name := range asked {
		if name != "" && !slices.Contains(allOnes, name) {
			panic("no such fault: " + name)
		}
	}
	d := simtest.NewDice(w.Seed, 1<<32)
	w.prod = make(map[string]bool)
	for _, name := range allOnes {
		drawn := d.Chance(0.5)
		w.prod[name] = drawn && slices.Contains(asked, name) && has(w.Profile, name)
	}
	if w.prod[tokens] {
		life, fixed := d.Span(time.Second, 30*time.Second), d.Chance(0.5)
		w.Logf("fault: tokens live for %v, fixed %v", life, fixed)
		w.Sim.RequireTokens(life, fixed)
	}
	if w.prod[limits] {
		ops, size := 32+d.IntN(96), 1<<(13+d.IntN(4))
		w.Logf("fault: %d operations and %d bytes at most", ops, size)
		w.Sim.SetLimits(ops, size)
	}
}

// has reports whether the profile may have the fault.
func has(p simtest.Profile, fault string) bool {
	switch fault {
	case noSpace, refusals:
		return p == simtest.Lossy || p == simtest.Cluster || p == simtest.Storm
	case corrupt, denied:
		return p == simtest.Cluster || p == simtest.Storm
	case steadfast:
		return p == simtest.Calm
	case blackHole:
		return p == simtest.Network || p == simtest.Storm
	case silentLoss:
		return p == simtest.Lossy
	}
	return true
}

// produce adds to f what production does to single calls.
func (w *world) produce(f *etcdsim.Faults) {
	if w.prod[refusals] || w.prod[steadfast] {
		w.Refuse(f)
	}
	if w.prod[silentLoss] {
		f.Hang = w.Float64()
	}
}

// deny refuses, for now and then, the calls that are about the first key.
func (w *world) deny(plan etcdsim.Plan) etcdsim.Plan {
	return func(call etcdsim.Call, rng *rand.Rand) etcdsim.Fate {
		fate := plan(call, rng)
		w.Mu.Lock()
		until := w.deniedUntil
		w.Mu.Unlock()
		if time.Now().Before(until) && call.Method != "Watch" && call.Method != "LeaseKeepAlive" {
			if b, err := proto.Marshal(call.Request); err == nil && bytes.Contains(b, []byte(path.Clean(w.keys[0].Path("elock")))) {
				fate.Refuse, fate.Carried = rpctypes.ErrGRPCPermissionDenied, false
			}
		}
		return fate
	}
}

// torments are the kinds of production's faults that come and go.
func (w *world) torments() (kinds []func()) {
	if w.prod[tokens] {
		kinds = append(kinds, w.expireTokens)
	}
	if w.prod[noSpace] {
		kinds = append(kinds, w.fill)
	}
	if w.prod[corrupt] {
		kinds = append(kinds, w.corrupt)
	}
	if w.prod[denied] {
		kinds = append(kinds, w.denyKey)
	}
	if w.prod[blackHole] {
		kinds = append(kinds, w.swallow)
	}
	return kinds
}

func (w *world) expireTokens() {
	w.Logf("fault: all tokens die")
	w.Sim.ExpireTokens()
}

func (w *world) fill() {
	w.spacelessFor(time.Minute)
	w.Fill()
	w.spacelessFor(15 * time.Second)
}

func (w *world) corrupt() {
	d := w.Span(time.Millisecond, 10*time.Second)
	w.Logf("fault: a corrupt cluster for %v", d)
	w.Sim.SetAlarm(pb.AlarmType_CORRUPT, true)
	time.Sleep(d)
	w.Sim.SetAlarm(pb.AlarmType_CORRUPT, false)
}

func (w *world) denyKey() {
	d := w.Span(time.Millisecond, 10*time.Second)
	w.Mu.Lock()
	w.Log("fault: nobody has permission for %v for %v", w.keys[0], d)
	w.deniedUntil = time.Now().Add(d)
	w.Mu.Unlock()
	time.Sleep(d)
}

// swallow has calls of one process vanish, with or without effect, while others work.
func (w *world) swallow() {
	p, d := w.Anyone(), w.Span(time.Millisecond, 10*time.Second)
	w.Logf("fault: all that %s asks vanishes for %v", p.Name, d)
	p.Client.SetPlan(etcdsim.Faults{LoseRequest: 0.5, LoseAnswer: 0.5, Hang: 1}.Plan())
	time.Sleep(d)
	p.Client.SetPlan(nil)
}

// overheard checks that an operation on k is not refused permission for another key.
func (p worker) overheard(k keyspace.Key, err error) {
	if denied := p.w.keys[0]; errors.Is(err, rpctypes.ErrPermissionDenied) && k != denied {
		p.w.Failf("%s: on %v, where %v is denied: %v", p.Name, k, denied, err)
	}
}

// spacelessFor notes that Evict may leave no mark for so long.
func (w *world) spacelessFor(d time.Duration) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.spaceless = time.Now().Add(d)
}
