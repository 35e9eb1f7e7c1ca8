package nemesis_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/once"
)

// job is the key of the ticks.
var job = keyspace.MustParse("job")

// unknown is the Err of a tick that may be done, or not.
const unknown = "unknown"

var errNotDone = errors.New("the job fails")

// tick runs one tick after the other until stop is done: the next one when that before it is done, by whomever. So none may be
// left out.
func (c *client) tick(stop context.Context) {
	for n := int64(1); stop.Err() == nil; {
		ctx, cancel := context.WithTimeout(stop, 50*time.Millisecond+span(10*time.Second))
		did, err := once.Do(ctx, c.l, job, fmt.Sprintf("%09d", n), func(ctx context.Context, _ *locker.Hold) error {
			c.journal.add(event{Kind: begun, Value: n, At: now()})
			idle(ctx, span(100*time.Millisecond))
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case rand.IntN(20) == 0:
				return errNotDone
			}
			c.journal.add(event{Kind: ran, Value: n, At: now()})
			return nil
		})
		cancel()
		if errors.Is(err, once.ErrOldTick) { // others were faster
			n++
			continue
		}
		e := event{Kind: ticked, Value: n, At: now(), Err: text(err)}
		if did {
			e.Prev = 1
		}
		switch {
		case err == nil:
			n++
		case errors.Is(err, locker.ErrOutcomeUnknown):
			e.Err = unknown
		}
		c.journal.add(e)
		idle(stop, span(50*time.Millisecond))
	}
}

// A run is one of a tick by a client, or what a client was told of a tick that it did not run.
type run struct {
	client       int
	tick         int64
	begun, ended int64  // 0 if it was not
	told         int64  // when Do returned
	err          string // "" if the tick is done; killed if its client was, in the middle
}

// once judges the ticks: each that anybody takes for done was run to its end, by one whose Do says so, or cannot say, and no more
// than one says so. None is left out. A client that was paused may write down late that it began.
func (v *verdict) once(runs []run) {
	last := int64(0)
	all := make(map[int64][]run)
	for _, r := range runs {
		all[r.tick] = append(all[r.tick], r)
		if r.err == "" {
			last = max(last, r.tick)
		}
	}
	for n := int64(1); n <= last; n++ {
		begun, done, perhaps := 0, 0, 0
		for _, r := range all[n] {
			switch {
			case r.begun == 0:
				continue
			case r.err == "":
				done++
			case r.ended != 0 && (r.err == unknown || r.err == killed):
				perhaps++
			}
			begun++
		}
		if done > 1 || done+perhaps == 0 {
			v.fail("tick %d: done %d times, and perhaps %d: %+v", n, done, perhaps, all[n])
			continue
		}
		v.ticks++
		if begun > 1 {
			v.again++
		}
	}
}
