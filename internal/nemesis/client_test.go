package nemesis_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/rpc"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

const (
	prefix  = "nemesis" // of the locks
	keys    = 3
	workers = keys // of a client
	maxTTL  = 4 * time.Second
)

func lockOf(key int) keyspace.Key { return keyspace.MustNew[int]("shared").Key(key) }

// registerOf is the fenced register of a key, recordOf where a write of it leaves its record.
func registerOf(key int) string              { return fmt.Sprintf("/register/%d", key) }
func recordsOf(key int) string               { return fmt.Sprintf("/records/%d/", key) }
func recordOf(key int, value int64) string   { return recordsOf(key) + strconv.FormatInt(value, 10) }
func record(prev int64, token uint64) string { return fmt.Sprintf("%d %d", prev, token) }

// settings are what the test tells a client.
type settings struct {
	ID        int
	Endpoints []string // of etcd
	Store     string   // address
	Journal   string   // path
	Log       string   // path
}

// A client is one process that uses locks.
type client struct {
	settings
	journal journal
	etcd    *clientv3.Client
	store   *rpc.Client
	l       *locker.Locker
	values  atomic.Int64
}

// runClient works until standard input ends: when the test says so, or is no more.
func runClient(encoded string) {
	if err := newClient(encoded); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func newClient(encoded string) error {
	c := &client{}
	if err := json.Unmarshal([]byte(encoded), &c.settings); err != nil {
		return err
	}
	file, err := os.OpenFile(c.Journal, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	c.journal = journal{file}
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if c.store, err = rpc.Dial("tcp", c.Store); err != nil {
		return err
	}
	c.etcd, err = clientv3.New(clientv3.Config{
		Endpoints:            c.Endpoints,
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    10 * time.Second, // the least that gRPC allows
		DialKeepAliveTimeout: 2 * time.Second,
		Logger:               zap.NewNop(),
	})
	if err != nil {
		return err
	}
	c.etcd.Lease = renewals{c.etcd.Lease, c.journal}
	opts := []locker.Option{
		locker.WithPrefix(prefix),
		locker.WithOwner(fmt.Sprintf("client %d", c.ID)),
		locker.WithTTL(3 * time.Second),
		locker.WithMaxHeldTime(6 * time.Second),
		locker.WithMonitorTicks(500 * time.Millisecond),
		locker.WithHook(tokens{}),
		locker.WithLogger(slog.New(slog.NewTextHandler(log, nil))),
	}
	if c.ID%2 == 0 {
		opts = append(opts, locker.WithRetain(300*time.Millisecond))
	}
	if c.ID%5 == 0 {
		opts = append(opts, locker.WithoutBatching(), locker.WithHandoff(0))
	}
	if c.l, err = locker.New(c.etcd, opts...); err != nil {
		return err
	}

	stop, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() { c.work(stop, w) })
	}
	all.Wait()
	err = c.l.Close()
	c.journal.add(event{Kind: closed, At: now(), Err: text(err)})
	return nil
}

// work takes locks until stop is done.
func (c *client) work(stop context.Context, worker int) {
	for stop.Err() == nil {
		idle(stop, span(100*time.Millisecond))
		key := rand.IntN(keys)
		ctx, cancel := context.WithTimeout(stop, 50*time.Millisecond+span(10*time.Second))
		ttl := locker.TTL(2*time.Second + time.Duration(rand.IntN(2))*(maxTTL-2*time.Second))
		call := now()
		var err error
		switch n := rand.IntN(100); {
		case n < 45:
			err = c.hold(ctx, stop, key, call, func() (*locker.Hold, error) { return c.l.Acquire(ctx, lockOf(key), ttl) })
		case n < 65:
			err = c.hold(ctx, stop, key, call, func() (*locker.Hold, error) { return c.l.TryAcquire(ctx, lockOf(key), ttl) })
		case n < 80:
			err = c.run(ctx, stop, key, call)
		case n < 90:
			// Unlock goes by the name, so two workers of one process would unlock for each other.
			key = worker
			err = c.classic(ctx, stop, key, call)
		default:
			_, _ = c.read(ctx, key)
		}
		cancel()
		if err != nil {
			c.journal.add(event{Kind: failed, Key: key, Call: call, At: now(), Err: why(err)})
		}
	}
}

func (c *client) hold(ctx, stop context.Context, key int, call int64, acquire func() (*locker.Hold, error)) error {
	h, err := acquire()
	if err != nil {
		return err
	}
	s := c.begin(h, key, call)
	s.work(stop)
	letGo := now()
	if rand.IntN(4) > 0 { // else the context is done when its time has come
		ctx = context.Background()
	}
	s.end(letGo, h.Release(ctx))
	return nil
}

func (c *client) run(ctx, stop context.Context, key int, call int64) error {
	var s *stint
	var letGo int64
	err := c.l.RunInLock(ctx, lockOf(key), func(_ context.Context, h *locker.Hold) error {
		s = c.begin(h, key, call)
		s.work(stop)
		letGo = now()
		return nil
	})
	if s == nil {
		return err
	}
	s.end(letGo, err)
	return nil
}

// classic holds a lock about which it hears nothing until its Unlock.
func (c *client) classic(ctx, stop context.Context, key int, call int64) error {
	var token locker.Token
	if err := c.l.Lock(context.WithValue(ctx, tokens{}, &token), lockOf(key).String(), 2+rand.IntN(2)); err != nil {
		return err
	}
	s := &stint{c: c, key: key, token: uint64(token), seen: call}
	c.journal.add(event{Kind: granted, Key: key, Token: s.token, Call: call, At: now()})
	s.findLease(ctx)
	idle(stop, longSpan())
	letGo := now()
	s.end(letGo, c.l.Unlock(context.Background(), lockOf(key).String()))
	return nil
}

// tokens is a hook that tells the token of a Lock to who asked for it, by a context.
type tokens struct{ locker.NopHook }

func (tokens) HoldStart(ctx context.Context, d locker.HoldStartData) context.Context {
	if token, ok := ctx.Value(tokens{}).(*locker.Token); ok {
		*token = d.Token
	}
	return ctx
}

// A stint is a hold as its client sees it.
type stint struct {
	c     *client
	h     *locker.Hold
	key   int
	token uint64
	over  chan struct{} // closed when the client lets go; nil for a classic Lock
	gone  sync.WaitGroup

	mu   sync.Mutex
	seen int64 // the last moment at which it was surely held
	told int64 // the last of them in the journal
}

func (c *client) begin(h *locker.Hold, key int, call int64) *stint {
	s := &stint{c: c, h: h, key: key, token: uint64(h.Token()), seen: call, over: make(chan struct{})}
	c.journal.add(event{Kind: granted, Key: key, Token: s.token, Call: call, At: now()})
	s.gone.Go(s.believe)
	s.findLease(h.Context())
	return s
}

// findLease looks which lease the lock's entry has. The hold's fence would tell, but a lock whose fence was asked for does
// not pass on within the process.
func (s *stint) findLease(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	rev := int64(s.token >> 16)
	resp, err := s.c.etcd.Get(ctx, lockOf(s.key).Path(prefix), clientv3.WithPrefix(),
		clientv3.WithMinCreateRev(rev), clientv3.WithMaxCreateRev(rev))
	if err == nil && len(resp.Kvs) == 1 {
		s.c.journal.add(event{Kind: leased, Key: s.key, Token: s.token, Lease: resp.Kvs[0].Lease, At: now()})
	}
}

// believe looks all the time whether the lock is held.
func (s *stint) believe() {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for s.held() {
		select {
		case <-s.over:
			return
		case <-tick.C:
		}
	}
}

// held looks whether the lock is held, and remembers when it was. The time comes first: a process that is paused after its
// look has still seen no more than that.
func (s *stint) held() bool {
	at := now()
	if s.h.Err() != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = max(s.seen, at)
	if at-s.told > int64(30*time.Millisecond) {
		s.told = at
		s.c.journal.add(event{Kind: trusted, Key: s.key, Token: s.token, Seen: at, At: at})
	}
	return true
}

// end tells how the release went, which began at letGo. A confirmed one has found the key, or passed the lock on within the
// process: it was held until then.
func (s *stint) end(letGo int64, err error) {
	if s.over != nil {
		close(s.over)
		s.gone.Wait()
	}
	if err == nil {
		s.seen = max(s.seen, letGo)
	}
	s.c.journal.add(event{Kind: ended, Key: s.key, Token: s.token, Seen: s.seen, At: now(), Err: why(err)})
}

// work updates the registers, or only the one that knows tokens. When that fails it clings to the lock, as who waits for better times does.
func (s *stint) work(stop context.Context) {
	fence := rand.IntN(3) > 0
	for range 1 + rand.IntN(3) {
		if !s.update(stop, fence) {
			s.linger(stop, 6*time.Second)
			return
		}
	}
}

// linger lets time pass while the lock is held.
func (s *stint) linger(stop context.Context, d time.Duration) {
	ctx, cancel := context.WithCancel(s.h.Context())
	defer cancel()
	defer context.AfterFunc(stop, cancel)()
	idle(ctx, d)
}

// update reads and writes the registers. It reports whether another update may follow: not after a write that may yet
// happen, which the fence would let pass.
func (s *stint) update(stop context.Context, fence bool) bool {
	c, ctx := s.c, s.h.Context()
	visit := Visit{Client: c.ID, Key: s.key, Token: s.token, Value: int64(c.ID)<<32 | c.values.Add(1)}
	if c.store.Call("Store.Read", visit, &visit.Prev) != nil {
		return false
	}
	var prev int64
	if fence {
		var err error
		if prev, err = c.read(ctx, s.key); err != nil {
			return false
		}
	}
	s.linger(stop, longSpan())
	if !s.held() {
		if rand.IntN(2) == 0 {
			return false
		}
		ctx = context.Background() // it knows better, and writes: fence and token must stop it where it does harm
	}
	written := !fence || c.write(ctx, s, prev, visit.Value)
	return c.store.Call("Store.Write", visit, new(struct{})) == nil && written
}

func (c *client) read(ctx context.Context, key int) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	call := now()
	resp, err := c.etcd.Get(ctx, registerOf(key))
	if err != nil {
		return 0, err
	}
	e := event{Kind: read, Key: key, Call: call, At: now()}
	if len(resp.Kvs) > 0 {
		if e.Value, err = strconv.ParseInt(string(resp.Kvs[0].Value), 10, 64); err != nil {
			panic(err)
		}
	}
	c.journal.add(e)
	return e.Value, nil
}

// write writes the fenced register. It does not compare the value: only the lock protects what was read.
func (c *client) write(ctx context.Context, s *stint, prev, value int64) bool {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	e := event{Kind: write, Key: s.key, Token: s.token, Prev: prev, Value: value, Call: now()}
	e.At = e.Call
	c.journal.add(e)
	resp, err := c.etcd.Txn(ctx).If(s.h.Fence()).Then(
		clientv3.OpPut(registerOf(s.key), strconv.FormatInt(value, 10)),
		clientv3.OpPut(recordOf(s.key, value), record(prev, s.token)),
	).Commit()
	e.Kind, e.At = wrote, now()
	switch {
	case err != nil:
		e.Err = "unknown: " + err.Error()
	case !resp.Succeeded:
		e.Err = fenced
	}
	c.journal.add(e)
	return e.Err == ""
}

// renewals tells the journal of leases that are granted or renewed.
type renewals struct {
	clientv3.Lease
	journal journal
}

func (r renewals) Grant(ctx context.Context, seconds int64) (*clientv3.LeaseGrantResponse, error) {
	call := now()
	resp, err := r.Lease.Grant(ctx, seconds)
	if err == nil {
		r.journal.add(event{Kind: renewed, Lease: int64(resp.ID), Call: call, At: now(), Value: resp.TTL})
	}
	return resp, err
}

func (r renewals) KeepAliveOnce(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseKeepAliveResponse, error) {
	call := now()
	resp, err := r.Lease.KeepAliveOnce(ctx, id)
	if err == nil {
		r.journal.add(event{Kind: renewed, Lease: int64(id), Call: call, At: now(), Value: resp.TTL})
	}
	return resp, err
}

// why names an error for the figures: "" for none, and otherwise one of few.
func why(err error) string {
	var lost *locker.LostError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &lost):
		return lost.Reason.String()
	case errors.Is(err, locker.ErrUnavailable):
		return "etcd was silent"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return "context ended"
	}
	for _, known := range []error{locker.ErrLocked, locker.ErrMaxHeld, locker.ErrClosed} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	var typed *locker.Error
	if !errors.As(err, &typed) {
		return "not an *Error: " + err.Error()
	}
	return typed.Err.Error()
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return cmp.Or(err.Error(), "an error without a text")
}

func idle(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// span is a random duration below max; short ones are as likely as long ones.
func span(max time.Duration) time.Duration {
	f := rand.Float64()
	return time.Duration(float64(max) * f * f * f)
}

// longSpan is how long one thinks under a lock: mostly for a moment, at times for longer than a lease lives or a lock may be
// held.
func longSpan() time.Duration {
	switch n := rand.IntN(1000); {
	case n == 0:
		return 8 * time.Second
	case n < 12:
		return span(4 * time.Second)
	}
	return span(50 * time.Millisecond)
}
