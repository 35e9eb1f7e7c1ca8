package nemesis_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/etcdtest/process"
)

const (
	members = 3
	clients = 4
	// recovery is how long after the last fault everybody has locked everything again.
	recovery = time.Minute
)

// A world is a cluster, the processes that use it, and what happened to them.
type world struct {
	t        *testing.T
	dir      string // of the journals; kept when the test fails
	cluster  *etcdtest.Cluster
	operator *clientv3.Client
	direct   map[*etcdtest.Member]*clientv3.Client // to one member only
	store    *store
	witness  *witness
	seats    []*seat

	mu      sync.Mutex
	ids     int           // of clients, so far
	deaths  map[int]int64 // clients that were killed, and when they surely were dead
	acts    []act
	faults  []window // that disturb
	resumed []int64  // when paused members went on
	calms   []window // from the end of faults to the beginning of others
	worst   time.Duration
	counts  map[string]int // of faults
	vain    int            // operator's acts that failed
}

// A seat is a place for a client, with its own connections. When the client ends, another takes the seat.
type seat struct {
	*world
	proxies []*etcdtest.Proxied // one for each member
	id      int                 // of the client
	proc    *process.Process
}

func newWorld(t *testing.T) *world {
	w := &world{
		t:      t,
		direct: make(map[*etcdtest.Member]*clientv3.Client),
		deaths: make(map[int]int64),
		counts: make(map[string]int),
	}
	var err error
	if w.dir, err = os.MkdirTemp("", "elock-nemesis-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the journals are in %s", w.dir)
		} else {
			os.RemoveAll(w.dir)
		}
	})
	w.cluster = etcdtest.StartCluster(t, members)
	w.operator = w.cluster.Client(t)
	for _, m := range w.cluster.Members() {
		w.direct[m] = m.Client(t)
	}
	w.witness = newWitness(w.operator)
	t.Cleanup(func() { w.witness.stop() })
	if w.store, err = newStore(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.listener.Close() })
	for range clients {
		s := &seat{world: w}
		for _, m := range w.cluster.Members() {
			s.proxies = append(s.proxies, etcdtest.Proxy(t, m.Endpoint()))
		}
		s.launch()
		t.Cleanup(func() { s.proc.Kill() })
		w.seats = append(w.seats, s)
	}
	return w
}

// path is where a client leaves something.
func (w *world) path(id int, what string) string {
	return filepath.Join(w.dir, "client-"+strconv.Itoa(id)+"."+what)
}

// launch starts the seat's next client.
func (s *seat) launch() {
	s.mu.Lock()
	s.ids++
	s.id = s.ids
	s.mu.Unlock()
	set := settings{ID: s.id, Store: s.store.listener.Addr().String(), Journal: s.path(s.id, "journal"), Log: s.path(s.id, "log")}
	for _, p := range s.proxies {
		set.Endpoints = append(set.Endpoints, p.Endpoint())
	}
	encoded, err := json.Marshal(set)
	if err != nil {
		s.t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := os.Create(s.path(s.id, "out"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	if s.proc, err = process.Start(exe, nil, append(os.Environ(), clientVar+"="+string(encoded)), out); err != nil {
		s.t.Fatal(err)
	}
}

func (s *seat) kill() {
	s.proc.Kill()
	dead := now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaths[s.id] = dead
}

// finish lets the client end by itself. It has half a minute, though etcd may be out of reach.
func (s *seat) finish() {
	s.proc.Finish()
	select {
	case <-s.proc.Done():
	case <-time.After(30 * time.Second):
		s.t.Errorf("client %d does not end", s.id)
		s.kill()
	}
}

// happened notes a fault that is over.
func (w *world) happened(f window, disturbs bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[f.name]++
	if disturbs {
		w.faults = append(w.faults, f)
	}
}

// recover waits until each client has locked each key after the last fault.
func (w *world) recover() {
	from := now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		missing := w.missing(from)
		took := time.Duration(now() - from)
		if len(missing) == 0 {
			w.worst = max(w.worst, took)
			return
		}
		if took > recovery {
			w.t.Errorf("%v after the last fault, these have not locked: %s", took, strings.Join(missing, ", "))
			return
		}
	}
}

func (w *world) missing(since int64) (missing []string) {
	for _, s := range w.seats {
		for key := range keys {
			if !w.store.visited(s.id, key, since) {
				missing = append(missing, fmt.Sprintf("client %d key %d", s.id, key))
			}
		}
	}
	return missing
}

// leftovers waits until no key and no lease of a lock is left. Those of killed clients expire.
func (w *world) leftovers() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		entries, err := w.operator.Get(ctx, "/"+prefix, clientv3.WithPrefix())
		if err != nil {
			w.t.Errorf("look for what is left: %v", err)
			return
		}
		leases, err := w.operator.Leases(ctx)
		if err != nil {
			w.t.Errorf("look for what is left: %v", err)
			return
		}
		if len(entries.Kvs)+len(leases.Leases) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.t.Errorf("left in etcd: %v %v", entries.Kvs, leases.Leases)
			return
		}
	}
}

// chain returns what was written to a fenced register, in order.
func (w *world) chain(key int) []commit {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	resp, err := w.operator.Get(ctx, recordsOf(key), clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		w.t.Fatal(err)
	}
	var all []commit
	for _, kv := range resp.Kvs {
		c := commit{rev: kv.CreateRevision, times: kv.Version}
		_, err := fmt.Sscanf(strings.TrimPrefix(string(kv.Key), recordsOf(key))+" "+string(kv.Value), "%d %d %d", &c.value, &c.prev, &c.token)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, c)
	}
	final, err := w.operator.Get(ctx, registerOf(key))
	if err != nil {
		w.t.Fatal(err)
	}
	if len(all) > 0 && (len(final.Kvs) == 0 || string(final.Kvs[0].Value) != strconv.FormatInt(all[len(all)-1].value, 10)) {
		w.t.Errorf("key %d: the register is %v, and the last write %+v", key, final.Kvs, all[len(all)-1])
	}
	return all
}

// A tale is what one client told, put together.
type tale struct {
	history
	failed map[string]int // acquires, by reason
	end    *event         // of its Locker
}

// tell reads a client's journal. dead is when it was killed, or 0.
func (w *world) tell(id int, dead int64) (*tale, error) {
	events, err := readJournal(w.path(id, "journal"))
	if err != nil && !(dead != 0 && os.IsNotExist(err)) { // killed before it began
		return nil, err
	}
	s := &tale{failed: make(map[string]int)}
	s.promises = make(map[int64][]promise)
	type grant struct { // locks that are granted together may have the same token
		key   int
		token uint64
	}
	open := make(map[grant]*hold)
	writes := make(map[int64]*operation)
	for _, e := range events {
		g := grant{e.Key, e.Token}
		switch e.Kind {
		case renewed:
			s.promises[e.Lease] = append(s.promises[e.Lease], promise{e.Call, time.Duration(e.Value) * time.Second})
		case failed:
			s.failed[e.Err]++
		case granted:
			if open[g] != nil {
				return nil, fmt.Errorf("client %d was granted twice: %+v", id, e)
			}
			open[g] = &hold{client: id, key: e.Key, token: e.Token, asked: e.Call, granted: e.At}
		case leased:
			open[g].lease = e.Lease
		case trusted:
			open[g].seen = e.Seen
		case ended:
			h := open[g]
			h.seen, h.ended, h.err = max(h.seen, e.Seen), e.At, e.Err
			s.holds = append(s.holds, *h)
			delete(open, g)
		case read:
			s.ops = append(s.ops, operation{client: id, key: e.Key, value: e.Value, call: e.Call, at: e.At})
		case write:
			writes[e.Value] = &operation{client: id, key: e.Key, write: true, value: e.Value, prev: e.Prev, token: e.Token, call: e.Call, err: killed}
		case wrote:
			o := writes[e.Value]
			o.at, o.err = e.At, e.Err
			s.ops = append(s.ops, *o)
			delete(writes, e.Value)
		case closed:
			s.end = &e
		}
	}
	for _, h := range open {
		h.ended, h.err = dead, killed
		s.holds = append(s.holds, *h)
	}
	for _, o := range writes {
		s.ops = append(s.ops, *o)
	}
	if dead == 0 && (s.end == nil || len(open)+len(writes) > 0) {
		return nil, fmt.Errorf("client %d ended in the middle", id)
	}
	return s, nil
}

// silent checks that a client had nothing to complain about: a panic, or a data race.
func (w *world) silent(id int) {
	out, err := os.ReadFile(w.path(id, "out"))
	if err != nil {
		w.t.Error(err)
	}
	if len(out) > 0 {
		w.t.Errorf("client %d says:\n%s", id, out[:min(len(out), 8192)])
	}
}

// longestGap is the longest time without a grant in a window.
func longestGap(holds []hold, in window) time.Duration {
	last, longest := in.from, int64(0)
	for _, h := range holds { // in the order of grants
		if h.granted >= in.from && h.granted <= in.to {
			longest = max(longest, h.granted-last)
			last = h.granted
		}
	}
	return time.Duration(max(longest, in.to-last))
}

func byGrant(holds []hold) []hold {
	return slices.SortedFunc(slices.Values(holds), func(a, b hold) int { return int(a.granted - b.granted) })
}
