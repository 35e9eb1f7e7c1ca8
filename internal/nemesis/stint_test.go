package nemesis_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/locker"
)

// A stint is a hold, or a term of the election, as its client sees it.
type stint struct {
	c     *client
	h     held
	key   int
	token uint64
	over  chan struct{} // closed when the client lets go; nil for a classic Lock
	gone  sync.WaitGroup

	mu   sync.Mutex
	seen int64 // the last moment at which it was surely held
	told int64 // the last of them in the journal
}

// held is a hold, or a term.
type held interface {
	Token() locker.Token
	Context() context.Context
	Err() error // nil: whoever asks may believe that it goes on
	Fence() clientv3.Cmp
}

func (c *client) begin(h held, key int, call int64) *stint {
	s := &stint{c: c, h: h, key: key, token: uint64(h.Token()), seen: call, over: make(chan struct{})}
	c.journal.add(event{Kind: granted, Key: key, Token: s.token, Call: call, At: now()})
	s.gone.Go(s.believe)
	s.findLease(h.Context())
	return s
}

// findLease looks which lease the lock's entry had at first: it may be gone already. If that past is compacted, the lease stays
// unknown. The hold's fence would tell, but a lock whose fence was asked for does not pass on within the process.
func (s *stint) findLease(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	rev := int64(s.token >> 16)
	resp, err := s.c.etcd.Get(ctx, lockOf(s.key).Path(prefix), clientv3.WithPrefix(), clientv3.WithRev(rev),
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
		s.c.journal.add(event{Kind: trusted, Key: s.key, Token: s.token, Seen: s.seen, At: now()})
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
