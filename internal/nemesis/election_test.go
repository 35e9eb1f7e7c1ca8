package nemesis_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/phpgao/elock/election"
	"github.com/phpgao/elock/guard"
)

// elected is the key of the lock that the leader has.
const elected = keys

// A term is one whose client asks its election whether it leads.
type term struct {
	*election.Term[string]
	e *election.Election[string]
}

var errNotLeader = errors.New("not the leader")

func (t term) Err() error {
	if t.e.IsLeader() {
		return nil
	}
	return errNotLeader
}

// campaign leads whenever it can, until stop is done: for a while, and then it resigns, at times to another client.
func (c *client) campaign(stop context.Context) {
	e, err := election.New(c.l, lockOf(elected), guard.Bytes[string]())
	if err != nil {
		panic(err)
	}
	for stop.Err() == nil {
		idle(stop, span(200*time.Millisecond))
		ctx, cancel := context.WithTimeout(stop, 50*time.Millisecond+span(10*time.Second))
		call := now()
		t, err := e.Campaign(ctx, strconv.Itoa(c.ID))
		cancel()
		if err != nil {
			c.journal.add(event{Kind: failed, Key: elected, Call: call, At: now(), Err: why(err)})
			continue
		}
		s := c.begin(term{t, e}, elected, call)
		s.linger(stop, longSpan())
		if rand.IntN(2) == 0 {
			ctx, cancel := context.WithTimeout(stop, time.Second)
			_ = t.Proclaim(ctx, "still "+strconv.Itoa(c.ID))
			cancel()
		}
		letGo := now()
		s.end(letGo, c.resign(t))
	}
}

func (c *client) resign(t *election.Term[string]) error {
	if rand.IntN(3) == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), span(2*time.Second))
		defer cancel()
		other := fmt.Sprintf("client %d", max(1, c.ID+rand.IntN(2*clients)-clients))
		if err := t.ResignTo(ctx, other); t.Context().Err() != nil {
			return err
		}
	}
	return t.Resign(context.Background())
}
