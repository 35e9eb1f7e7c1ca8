// Package latewrite looks for writes that were given up without an answer: a member of etcd that was paused or cut off may carry
// them out late. It knows when to look, and for how long; what a write is, and how it is looked for and removed, it does not know.
//
// # Invariants
//
//   - A write is looked for each second at first, and then with pauses that grow with its age, for a minute; and at least once
//     after that. One that was found and removed is looked for all the same: it may have been sent several times.
//   - Between two rounds is a second, and a round has so many writes at most. The oldest come first.
//   - A look that fails counts as none, and is made again when the next one is due. Only a write that etcd refuses to let be
//     looked for is forgotten, after two minutes.
//   - While there are no writes there is no goroutine.
package latewrite

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/internal/etcderr"
	"github.com/phpgao/elock/internal/xctx"
)

// Config says what a List works with. All fields must be set.
type Config[W any] struct {
	Base  context.Context   // ends the List
	Spawn func(func()) bool // runs a function on a goroutine, false once the process ends
	// Look looks for writes, and removes those that have come. Fails it with ErrTooManyOps, it gets fewer at a time.
	Look func(context.Context, []W) error
	Over func(W) bool // reports whether a write cannot come any more
}

// A List is the writes that are looked for. Its methods may be called from several goroutines.
type List[W any] struct {
	cfg   Config[W]
	batch int // how many are looked for at a time

	mu  sync.Mutex  // guards all
	all []*write[W] // the oldest first; run runs while there are any
}

type write[W any] struct {
	of    W
	since time.Time
	next  time.Time // when to look for it

	refused bool // etcd does not let it be looked for; of run
}

const (
	// suspicion is how long a write is looked for. etcd itself gives up a request after some 7 seconds; a paused member can be later.
	suspicion = time.Minute
	// forgetAfter is when one is forgotten that etcd does not let be looked for.
	forgetAfter = 2 * suspicion
	// every is how often it is looked for in the first seconds, and the pause between two rounds.
	every = time.Second
	// maxBatch is how many are looked for at a time; etcd allows 128 operations by default. maxRound is how many in a round.
	maxBatch = 64
	maxRound = 16 * maxBatch
)

// New returns an empty List.
func New[W any](cfg Config[W]) *List[W] { return &List[W]{cfg: cfg, batch: maxBatch} }

// Add has a write looked for.
func (l *List[W]) Add(of W) {
	now := time.Now()
	l.mu.Lock()
	l.all = append(l.all, &write[W]{of: of, since: now, next: now.Add(every)})
	first := len(l.all) == 1
	l.mu.Unlock()
	if first && !l.cfg.Spawn(l.run) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all = nil
	}
}

// Len returns how many writes are looked for.
func (l *List[W]) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

func (l *List[W]) run() {
	for l.cfg.Base.Err() == nil {
		l.round()
		if l.done() {
			return
		}
		xctx.Pause(l.cfg.Base, every)
	}
}

// round looks for all writes that are due.
func (l *List[W]) round() {
	for due := l.due(time.Now()); len(due) > 0 && l.cfg.Base.Err() == nil; {
		some := due[:min(len(due), l.batch)]
		err := l.look(some)
		switch {
		case errors.Is(err, rpctypes.ErrTooManyOps) && l.batch > 1:
			l.batch /= 2
			continue
		case etcderr.Contents(err):
			l.lookApart(some)
		}
		due = due[len(some):]
	}
}

// lookApart looks for writes that etcd refuses to let be looked for together: in halves, until those are found that it is about.
func (l *List[W]) lookApart(some []*write[W]) {
	if len(some) == 1 {
		some[0].refused = true
		return
	}
	half := len(some) / 2
	for _, part := range [][]*write[W]{some[:half], some[half:]} {
		if etcderr.Contents(l.look(part)) {
			l.lookApart(part)
		}
	}
}

// due returns what is to be looked for now, the oldest first, and sets the time of the next look: the pause grows with the age.
func (l *List[W]) due(now time.Time) (due []*write[W]) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.all {
		if now.Before(w.next) || len(due) == maxRound {
			continue
		}
		due = append(due, w)
		w.next = now.Add(max(0, now.Sub(w.since)/8-every/2))
	}
	return due
}

// look looks for some writes, and forgets those that need not be looked for again.
func (l *List[W]) look(some []*write[W]) error {
	ctx, cancel := context.WithTimeout(l.cfg.Base, xctx.Patience(0))
	defer cancel()
	of := make([]W, len(some))
	for i, w := range some {
		of[i] = w.of
	}
	asked := time.Now()
	if err := l.cfg.Look(ctx, of); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = slices.DeleteFunc(l.all, func(w *write[W]) bool {
		return asked.Sub(w.since) > suspicion && slices.Contains(some, w)
	})
	return nil
}

// done forgets what cannot come any more, and reports whether nothing is left.
func (l *List[W]) done() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = slices.DeleteFunc(l.all, func(w *write[W]) bool {
		return l.cfg.Over(w.of) || w.refused && time.Since(w.since) > forgetAfter
	})
	return len(l.all) == 0
}
