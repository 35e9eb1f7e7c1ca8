package locker

import (
	"context"
	"fmt"
	"strings"

	"github.com/phpgao/elock/internal/waits"
	"github.com/phpgao/elock/keyspace"
)

// A Chain is who waits for whom, from one lock on.
type Chain struct {
	// Links begin with the holders of the lock. After each holder come the locks that it waits
	// for, and their holders. An owner that is met again is not followed again.
	Links []Link
	// Cycle is a part of Links in which each holder is the next one's waiter, and the last holder
	// the first waiter. It is empty if there is none.
	Cycle []Link
}

// A Link says that Waiter waits for Key, which Holder holds.
type Link struct {
	Key    keyspace.Key
	Waiter Owner // Since is when it began; zero in the links of the lock that was asked for
	Holder Owner
}

// maxShown is how many links String shows.
const maxShown = 16

// String returns the chain in one line, for a log: `"a" held by ann; ann waits for "b" held by bob`. It
// shows the first 16 links of a longer one.
func (c Chain) String() string {
	if len(c.Links) == 0 {
		return "not held"
	}
	var b strings.Builder
	show := func(links []Link) {
		for i, link := range links[:min(len(links), maxShown)] {
			if i > 0 {
				b.WriteString("; ")
			}
			if link.Waiter.Token != 0 {
				b.WriteString(link.Waiter.label() + " waits for ")
			}
			fmt.Fprintf(&b, "%q held by %s", link.Key, link.Holder.label())
		}
		if more := len(links) - maxShown; more > 0 {
			fmt.Fprintf(&b, "; and %d more", more)
		}
	}
	show(c.Links)
	if len(c.Cycle) > 0 {
		b.WriteString("; cycle: ")
		show(c.Cycle)
	}
	return b.String()
}

// label is how logs name an owner.
func (o Owner) label() string {
	if o.Foreign {
		return fmt.Sprintf("a foreign owner with token %d", o.Token)
	}
	return o.Name
}

// Blocking returns why key is not free: who holds it, which locks these owners wait for, who holds
// those, and so on. It names a cycle if there is one. If nobody holds key the Chain is empty.
//
// A Chain is a suspicion and not a proof. An owner is a process, or all that share a name of WithOwner: the
// goroutine that waits need not be the one that holds, so what looks like a cycle may move. A chain that Blocking
// finds again later, with the same tokens, is likely a deadlock. A chain ends at foreign owners, which have no name, and it
// shows no goroutines that wait for others of their process. A process that retains a lock is its
// holder, though it gives it up when asked.
//
// Blocking reads all locks of the Locker's prefix, at one moment, as List does and with List's errors: its
// time grows with the number of all locks, its memory with that of those for which somebody waits. It is meant for
// operators and for logs, not for each acquire.
func (l *Locker) Blocking(ctx context.Context, key keyspace.Key) (Chain, error) {
	chain, err := l.blocking(ctx, key)
	if err != nil {
		return Chain{}, &Error{Op: "blocking", Key: key.String(), Err: err}
	}
	return chain, nil
}

func (l *Locker) blocking(ctx context.Context, key keyspace.Key) (Chain, error) {
	if err := l.check(); err != nil {
		return Chain{}, err
	}
	if key.IsZero() {
		return Chain{}, errZeroKey
	}
	var holders []Owner
	g := waits.New[keyspace.Key](func(o Owner) string { return o.Name })
	for q, err := range l.queuesBelow(ctx, keyspace.Key{}) {
		if err != nil {
			return Chain{}, err
		}
		if q.Key == key {
			holders = q.Holders
		}
		g.Add(q.Key, q.Holders, q.Waiters)
	}
	links, cycle := g.Chain(key, holders)
	return Chain{linksOf(links), linksOf(cycle)}, nil
}

func linksOf(of []waits.Link[keyspace.Key, Owner]) (links []Link) {
	for _, l := range of {
		links = append(links, Link(l))
	}
	return links
}
