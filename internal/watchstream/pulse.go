package watchstream

import (
	"sync"
	"time"
)

const (
	// Tick is how often Look is to be called, and how long a stream may be silent
	// before it is asked for a sign of life.
	Tick = time.Second
	// Silence is how long it may owe the answer.
	Silence    = 2 * time.Second
	maxSilence = 30 * time.Second
	// Unproven is the First for watches about which nothing else tells.
	Unproven = 8 * time.Second
)

// A Pulse tells whether a stream of watches is alive: a member may swallow
// everything. Its methods may be called from several goroutines.
type Pulse struct {
	// First is how long the first answer of all may take, as some proxies never
	// give one. It doubles up to 30 seconds. With 0 no stream is dead before etcd has
	// answered once.
	First time.Duration
	// Constant says that once etcd has answered, a stream may always owe the answer
	// for Silence: nothing else tells what is missed meanwhile. Otherwise that doubles,
	// up to 30 seconds, with each stream that has not answered, until one answers.
	Constant bool
	// Rest is for how long a stream that has answered may be silent before it is asked again; if less than Tick, that.
	Rest time.Duration

	mu     sync.Mutex // guards what follows
	heard  time.Time  // when the stream last said anything, or was opened
	asked  time.Time  // when it was asked for progress; zero: it owes no answer
	looked time.Time  // the last call of Look
	proven bool       // etcd has answered once, on this stream or one before
	lives  bool       // this one has answered
	limit  time.Duration
}

// Opened notes that another stream took the place of the one before.
func (p *Pulse) Opened() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard, p.asked, p.lives = time.Now(), time.Time{}, false
}

// Heard notes that the stream has said something; progress, that it was an answer
// to a request for progress.
func (p *Pulse) Heard(progress bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard, p.asked = time.Now(), time.Time{}
	if progress {
		p.proven, p.lives, p.limit = true, true, Silence
	}
}

// Quiet returns for how long nothing was heard of the stream.
func (p *Pulse) Quiet() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.heard)
}

// Proven reports whether etcd has ever answered a request for progress.
func (p *Pulse) Proven() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.proven
}

// Look is to be called each Tick, when all that has come was passed to Heard. It
// reports whether the stream is to be asked for progress now, and whether it is
// dead.
func (p *Pulse) Look() (ask, dead bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.looked) > 2*Tick { // nobody was there to hear an answer
		p.asked = time.Time{}
	}
	p.looked = now
	if p.limit == 0 {
		p.limit = p.First
	}
	quiet := Tick
	if p.lives {
		quiet = max(Tick, p.Rest)
	}
	switch {
	case p.asked.IsZero() && now.Sub(p.heard) >= quiet:
		p.asked = now
		return true, false
	case p.asked.IsZero(), p.limit == 0, now.Sub(p.asked) <= p.limit:
		return false, false
	}
	if !p.proven || !p.Constant {
		p.limit = min(2*p.limit, maxSilence)
	}
	return false, true
}
