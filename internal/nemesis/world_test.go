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
	began    int64
	dir      string // of the journals; kept when the test fails
	cluster  *etcdtest.Cluster
	operator *clientv3.Client                      // may do everything
	fronts   []*etcdtest.Proxied                   // one for each member, through which all clients see it
	tokens   string                                // their kind; empty without auth
	direct   map[*etcdtest.Member]*clientv3.Client // to one member only
	store    *store
	witness  *witness
	seats    []*seat

	passwords sync.Mutex // has whoever changes the password

	mu       sync.Mutex
	password string        // of a client that is launched now
	ids      int           // of clients, so far
	deaths   map[int]int64 // clients that were killed, and when they surely were dead
	acts     []act
	faults   []window // that disturb
	resumed  []int64  // when paused members went on
	restored int64    // when nothing was left of faults but what clients felt
	calms    []window // from the end of faults to the beginning of others
	worst    time.Duration
	counts   map[string]int // of faults
	vain     int            // operator's acts that failed
	full     int            // how often etcd had no space
}

// A seat is a place for a client, with its own connections. When the client ends, another takes the seat.
type seat struct {
	*world
	proxies []*etcdtest.Proxied // one for each member
	id      int                 // of the client
	proc    *process.Process
}

// newWorld has clients use a cluster. tokens, of a cluster with auth, are its kind; password is the plain user's.
func newWorld(t *testing.T, c *etcdtest.Cluster, tokens, password string) *world {
	w := &world{
		t:        t,
		cluster:  c,
		tokens:   tokens,
		password: password,
		direct:   make(map[*etcdtest.Member]*clientv3.Client),
		deaths:   make(map[int]int64),
		counts:   make(map[string]int),
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
	w.operator = c.Root(t)
	for _, m := range c.Members() {
		w.direct[m] = m.Root(t)
		w.fronts = append(w.fronts, etcdtest.Proxy(t, m.Endpoint()))
	}
	w.witness = newWitness(w.operator)
	t.Cleanup(func() { w.witness.stop() })
	if w.store, err = newStore(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.listener.Close() })
	for range clients {
		s := &seat{world: w}
		for _, front := range w.fronts {
			s.proxies = append(s.proxies, etcdtest.Proxy(t, front.Endpoint()))
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
	password := s.password
	s.mu.Unlock()
	set := settings{ID: s.id, Store: s.store.listener.Addr().String(), Journal: s.path(s.id, "journal"), Log: s.path(s.id, "log")}
	if s.tokens != "" {
		set.Username, set.Password = etcdtest.PlainUser, password
	}
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

// recover restores what faults have left behind, and waits until each client has locked each key after the last of them.
func (w *world) recover() {
	from := now()
	w.restore()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		missing := w.missing(from)
		took := time.Duration(now() - from)
		if len(missing) == 0 {
			w.worst = max(w.worst, took)
			return
		}
		if now()-w.restored > int64(aftermath) {
			w.restore()
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
		entries, err := w.operator.Get(ctx, locks, clientv3.WithPrefix())
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
