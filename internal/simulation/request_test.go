package simulation_test

import (
	"slices"
	"time"

	"github.com/phpgao/elock/internal/simtest"
)

// listens has h hear of requests. Where nothing is at fault, it hears of one that there is already.
func (w *world) listens(h anyHold) {
	h.Requested()
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.stats.listens++
	for k, token := range tokensOf(h) {
		e := entryOf(k, token)
		p := w.place(e)
		p.listening, p.heeds = append(p.listening, h), time.Now()
		if !p.asked.IsZero() && w.Profile == simtest.Calm {
			time.AfterFunc(told, func() { w.expectHeard(e) })
		}
	}
}

// isAsked notes that somebody asks for an entry's lock. The caller holds mu.
func (w *world) isAsked(e entry) {
	p := w.place(e)
	if p.asked.IsZero() {
		p.asked = time.Now()
		w.stats.asked++
		w.Log("etcd: entry %v is asked for", e)
		if w.Profile == simtest.Calm {
			time.AfterFunc(told, func() { w.expectHeard(e) })
		}
	}
}

// expectHeard checks that the live holds of an entry that listen have heard of a request, and those that are young will.
func (w *world) expectHeard(e entry) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	p := w.place(e)
	if w.prod[steadfast] || time.Since(p.heeds) < told { // several locks are held, and hear, when the last is granted
		return
	}
	if slices.ContainsFunc(p.listening, func(h anyHold) bool {
		select {
		case <-h.Requested():
			return false
		default:
			return h.Context().Err() == nil
		}
	}) {
		w.Fail("hold %v has not heard of a request for %v", e, time.Since(p.asked))
	}
}
