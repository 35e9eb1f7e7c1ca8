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

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/phpgao/elock"
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

// locks is where the entries of all locks are in etcd.
const locks = "/" + prefix + "/shared:/"

// registerOf is the fenced register of a key, recordOf where a write of it leaves its record. Both are under the prefix, as a
// user has no permission for more.
func registerOf(key int) string              { return fmt.Sprintf("/%s/register:/%d", prefix, key) }
func recordsOf(key int) string               { return fmt.Sprintf("/%s/records:/%d/", prefix, key) }
func recordOf(key int, value int64) string   { return recordsOf(key) + strconv.FormatInt(value, 10) }
func record(prev int64, token uint64) string { return fmt.Sprintf("%d %d", prev, token) }

// settings are what the test tells a client.
type settings struct {
	ID        int
	Endpoints []string // of etcd
	Username  string   // empty without auth
	Password  string
	Store     string // address
	Journal   string // path
	Log       string // path
}

// A client is one process that uses locks.
type client struct {
	settings
	journal journal
	etcd    *clientv3.Client
	store   *rpc.Client
	e       *elock.ELocker
	l       *locker.Locker // under e
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
	stop, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if !c.connect(stop) {
		c.journal.add(event{Kind: closed, At: now()})
		return nil
	}
	defer c.etcd.Close()
	c.etcd.Lease = c.renewals()
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
	c.e = elock.NewELocker(c.etcd, elock.WithLockerOptions(opts...))
	c.l = c.e.Locker()

	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() { c.work(stop, w) })
	}
	all.Go(func() { c.campaign(stop) })
	all.Go(func() { c.tick(stop) })
	all.Wait()
	err = c.l.Close()
	c.journal.add(event{Kind: closed, At: now(), Err: text(err)})
	return nil
}

// connect logs in, which fails while etcd is away and while the password is another. It reports false when stop was first.
func (c *client) connect(stop context.Context) bool {
	for stop.Err() == nil {
		var err error
		c.etcd, err = clientv3.New(clientv3.Config{
			Endpoints:            c.Endpoints,
			Username:             c.Username,
			Password:             c.Password,
			DialTimeout:          5 * time.Second,
			DialKeepAliveTime:    10 * time.Second, // the least that gRPC allows
			DialKeepAliveTimeout: 2 * time.Second,
			Logger:               zap.NewNop(),
		})
		if err == nil {
			return true
		}
		idle(stop, 100*time.Millisecond)
	}
	return false
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
	if err := c.e.Lock(context.WithValue(ctx, tokens{}, &token), lockOf(key).String(), 2+rand.IntN(2)); err != nil {
		return err
	}
	s := &stint{c: c, key: key, token: uint64(token), seen: call}
	c.journal.add(event{Kind: granted, Key: key, Token: s.token, Call: call, At: now()})
	s.findLease(ctx)
	idle(stop, longSpan())
	letGo := now()
	s.end(letGo, c.e.Unlock(context.Background(), lockOf(key).String()))
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

const (
	wasSilent    = "etcd was silent"
	contextEnded = "context ended"
)

// expected is why acquires may fail whether there is a fault or not.
var expected = []string{wasSilent, contextEnded, locker.ErrLocked.Error()}

// why names an error for the figures: "" for none, and otherwise one of few.
func why(err error) string {
	var lost *locker.LostError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &lost):
		return lost.Reason.String()
	case errors.Is(err, locker.ErrUnavailable):
		return wasSilent
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return contextEnded
	}
	for _, known := range []error{
		locker.ErrLocked, locker.ErrMaxHeld, locker.ErrClosed,
		rpctypes.ErrNoSpace, rpctypes.ErrPermissionDenied, rpctypes.ErrAuthFailed,
	} {
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
