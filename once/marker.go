package once

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/phpgao/elock/locker"
)

// A marker is what is known of the tick that was run last.
type marker struct {
	Version int          `json:"v"`
	Tick    string       `json:"tick"`
	Token   locker.Token `json:"token"` // of the hold that ran it
	Owner   string       `json:"owner,omitempty"`
	Started string       `json:"started,omitempty"` // with Skip, by the clock of the owner
	Done    string       `json:"done,omitempty"`    // with Retake, by the clock of the owner
}

const version = 1

func timestamp() string { return time.Now().UTC().Format(time.RFC3339Nano) }

// path is the marker's key in etcd. It is the value path of the lock with an ending
// that no path of keyspace can have: there, two hexadecimal digits, a colon or a slash
// follow each percent sign. So it is nobody's value, and in no lock's directory.
func (c *call) path() string { return c.key.ValuePath(c.l.Prefix()) + "%once" }

// marker returns the marker of the tick, run under h. The owner is for people: if
// etcd does not tell it at once, it is left out.
func (c *call) marker(ctx context.Context, h *locker.Hold) marker {
	m := marker{Version: version, Tick: c.tick, Token: h.Token()}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if q, err := c.l.Inspect(ctx, c.key); err == nil && len(q.Holders) > 0 {
		m.Owner = q.Holders[0].Name
	}
	return m
}

func (m marker) encode() string {
	data, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings and numbers encode
	}
	return string(data)
}

func decode(data []byte) (m marker, err error) {
	err = json.Unmarshal(data, &m)
	switch {
	case err != nil:
		return m, fmt.Errorf("%w: %w", ErrMarker, err)
	case m.Version > version:
		return m, fmt.Errorf("%w: version %d is of a later release", ErrMarker, m.Version)
	case m.Version != version || m.Tick == "":
		return m, fmt.Errorf("%w: no version or no tick", ErrMarker)
	}
	return m, nil
}
