package locker

import (
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/phpgao/elock/internal/entry"
	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

// Defaults of the options.
const (
	DefaultPrefix       = "elock"
	DefaultTTL          = 15 * time.Second
	DefaultMonitorTicks = time.Minute
	DefaultHandoff      = 10 * time.Millisecond
)

// maxTTL is the longest lease that etcd grants, in seconds.
const maxTTL = 9_000_000_000

// An Option configures a Locker. A bad one makes New fail with
// ErrInvalidOption or ErrInvalidTTL.
type Option func(*config)

type config struct {
	prefix       string
	ttl          time.Duration
	maxHeld      time.Duration // 0: without limit
	monitorTicks time.Duration
	onTimeout    func(key string, held time.Duration)
	onSuccess    func(key string)
	hook         []Hook
	log          *slog.Logger
	owner        string
	noBatching   bool
	handoff      time.Duration
	retain       time.Duration
	inBackground bool // as WithReleaseInBackground says
	onUnreleased func(key keyspace.Key, err error)
	err          error // the first bad option
}

func newConfig(opts []Option) config {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	c := config{
		prefix:       DefaultPrefix,
		ttl:          DefaultTTL,
		monitorTicks: DefaultMonitorTicks,
		log:          slog.Default(),
		handoff:      DefaultHandoff,
		owner:        fmt.Sprintf("%s:%d", host, os.Getpid()),
	}
	for _, o := range opts {
		if o == nil {
			c.fail(invalid("nil Option"))
			continue
		}
		o(&c)
	}
	return c
}

func (c *config) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// WithPrefix puts the locks under "/" + p + "/" in etcd. The default is
// "elock". A prefix of several segments is written "a/b"; slashes around it do
// not count. Two different prefixes never share a lock.
func WithPrefix(p string) Option {
	return func(c *config) {
		p := strings.Trim(p, "/")
		if _, err := keyspace.Parse(p); err != nil {
			c.fail(fmt.Errorf("%w: prefix: %w", ErrInvalidOption, err))
		}
		c.prefix = p
	}
}

// WithTTL sets how long a lock outlives a process that dies, unless an acquire
// says otherwise. The default is 15s. It goes to etcd in whole seconds, rounded
// up; etcd may grant more (its minimum is 2s by default), never less.
func WithTTL(d time.Duration) Option {
	return func(c *config) {
		if _, err := wholeSeconds(d); err != nil {
			c.fail(err)
		}
		c.ttl = d
	}
}

// WithMaxHeldTime sets how long a lock may be held before the monitor releases
// it. The default, 0, means without limit.
func WithMaxHeldTime(d time.Duration) Option {
	return func(c *config) {
		if d < 0 {
			c.fail(invalid("maximum held time %v is negative", d))
		}
		c.maxHeld = d
	}
}

// WithMonitorTicks sets how often the monitor looks for locks that are held
// too long. The default is 1m.
func WithMonitorTicks(d time.Duration) Option {
	return func(c *config) {
		if d <= 0 {
			c.fail(invalid("monitor tick %v is not positive", d))
		}
		c.monitorTicks = d
	}
}

// WithTimeoutCallback has f called once for each lock that the monitor
// released, with the lock's name and the time it was held. It runs on a
// goroutine of its own, which Close does not wait for; its panic is logged.
func WithTimeoutCallback(f func(key string, held time.Duration)) Option {
	return func(c *config) { c.onTimeout = f }
}

// WithSuccessCallback has f called after each acquire, with the lock's name,
// on the goroutine that acquired it. If f panics, the lock is released and the
// panic goes on.
func WithSuccessCallback(f func(key string)) Option {
	return func(c *config) { c.onSuccess = f }
}

// WithHook adds hooks that watch every acquire, hold and timeout.
func WithHook(h ...Hook) Option {
	return func(c *config) {
		for _, h := range h {
			if v := reflect.ValueOf(h); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
				c.fail(invalid("nil Hook"))
				continue
			}
			c.hook = append(c.hook, h)
		}
	}
}

// WithoutBatching sends every transaction to etcd alone. By default those that
// come while others are on their way go together, as one: that is far more locks
// per second. Such a call to etcd is nobody's alone, and so is not made with the
// context that a Hook returned for one acquire.
func WithoutBatching() Option {
	return func(c *config) { c.noBatching = true }
}

// maxHandoff bounds how long a lock passes from hold to hold while no watch shows
// that its entry in etcd is still there.
const maxHandoff = 100 * time.Millisecond

// WithHandoff sets for how long the goroutines of this Locker may pass a lock
// to each other without contacting etcd. Then it goes to the end of the
// queue, so that other processes get their turn; that is one write, whether or
// not another process waits. The default is 10ms, the maximum 100ms; 0 turns it
// off.
func WithHandoff(d time.Duration) Option {
	return func(c *config) {
		if d < 0 || d > maxHandoff {
			c.fail(invalid("hand-off for %v; want 0 to %v", d, maxHandoff))
		}
		c.handoff = d
	}
}

// WithRetain has a released lock stay with this Locker for up to d, so that to
// acquire it again, with the same TTL, does not contact etcd. It is given up as
// soon as another process queues for it, and a TryAcquire elsewhere gets it, too;
// only to Inspect and Evict it is held meanwhile. Shared holds and slots are not retained.
// Each retained lock costs a watch and three goroutines. While a Locker retains
// 1024 locks, it retains no others. The default, 0, retains none.
//
// It is for locks that one process wants again and again. It is slower under
// contention: the first release writes, and the next process has to ask.
// A process that dies blocks what it retains for the TTL, as what it holds.
func WithRetain(d time.Duration) Option {
	return func(c *config) {
		if d < 0 {
			c.fail(invalid("retaining for %v is negative", d))
		}
		c.retain = d
	}
}

// WithLogger sets where events in the background are logged: a renewal that
// fails, a release that is retried, a lost lock, a panic of a callback or a hook.
// While all is well, nothing is logged above the level Info, and little at it. A panic
// of the logger's Handler is dropped. The default is slog.Default().
func WithLogger(l *slog.Logger) Option {
	return func(c *config) {
		if l == nil {
			c.fail(invalid("nil Logger"))
		}
		c.log = l
	}
}

// WithOwner sets the name under which others see this process in Inspect and
// in hooks. The default is the host's name and the process id: "host:pid".
func WithOwner(name string) Option {
	return func(c *config) {
		if name == "" || len(name) > maxOwner {
			c.fail(invalid("owner name of %d bytes; want 1 to %d", len(name), maxOwner))
		}
		c.owner = name
	}
}

// maxOwner keeps the record in the lock's key small.
const maxOwner = 1024

// An AcquireOption configures one acquire.
type AcquireOption func(*request)

// request is what one acquire asks for.
type request struct {
	ttl     time.Duration
	maxHeld time.Duration
	atLeast time.Duration // as AtLeast says; 0: it was not given
	err     error         // the first bad option

	entry.Want // what ReadKeys and ReadKnown, Announcing, Shared and Slots say, and ttl as it goes to etcd
}

// TTL is WithTTL for one acquire. Locks of about the same TTL share leases, up to
// 64 to each. A lock may be put under a lease that is up to an eighth longer than
// its TTL, and outlives a process that dies by so much more.
func TTL(d time.Duration) AcquireOption {
	return func(r *request) { r.ttl = d }
}

// MaxHeld is WithMaxHeldTime for one acquire: 0 means without limit.
func MaxHeld(d time.Duration) AcquireOption {
	return func(r *request) {
		if d < 0 {
			r.err = invalid("maximum held time %v is negative", d)
		}
		r.maxHeld = d
	}
}

func (c *config) request(opts []AcquireOption) (r request, err error) {
	if len(opts) == 0 {
		r = request{ttl: c.ttl, maxHeld: c.maxHeld}
	} else {
		r = c.requestOf(opts)
	}
	if r.err != nil {
		return r, r.err
	}
	if r.Claim != (record.Claim{}) {
		if err := r.checkClaim(); err != nil {
			return r, err
		}
	}
	r.Seconds, err = wholeSeconds(r.ttl)
	return r, err
}

// checkClaim completes a claim that is not to hold alone, and returns what is wrong with it.
func (r *request) checkClaim() error {
	switch {
	case r.Shared && (r.Announces || r.atLeast > 0):
		return invalid("Announcing or AtLeast with Shared")
	case r.Slots == 0 && r.Weight > 0:
		return invalid("Weight without Slots")
	case r.Slots == 0:
		return nil
	case r.Shared:
		return invalid("Slots with Shared")
	case r.Announces || r.atLeast > 0:
		return invalid("Announcing or AtLeast with Slots")
	case r.Weight > r.Slots:
		return invalid("weight %d of %d slots", r.Weight, r.Slots)
	}
	r.Weight = max(r.Weight, 1)
	return nil
}

// requestOf is apart as options make their request escape to the heap.
func (c *config) requestOf(opts []AcquireOption) request {
	r := request{ttl: c.ttl, maxHeld: c.maxHeld}
	for _, o := range opts {
		if o == nil {
			r.err = invalid("nil AcquireOption")
			return r
		}
		o(&r)
	}
	return r
}

// wholeSeconds rounds a TTL up to what etcd takes.
func wholeSeconds(ttl time.Duration) (int64, error) {
	if ttl <= 0 {
		return 0, fmt.Errorf("%w: %v is not positive", ErrInvalidTTL, ttl)
	}
	s := int64((ttl-1)/time.Second) + 1
	if s > maxTTL {
		return 0, fmt.Errorf("%w: %v is above etcd's maximum of %d s", ErrInvalidTTL, ttl, int64(maxTTL))
	}
	return s, nil
}
