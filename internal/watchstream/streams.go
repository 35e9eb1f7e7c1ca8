package watchstream

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/metadata"
)

const (
	// key is the metadata key whose value tells the streams of a client apart.
	key = "elock-watch-stream"

	// firstPause is the pause after the second of two replacements that follow
	// each other closely, and maxPause the longest.
	firstPause = 50 * time.Millisecond
	maxPause   = 5 * time.Second
)

// last is the number of the newest stream of the process. Streams of one client
// must differ, whichever Streams they belong to.
var last atomic.Uint64

// Streams names the gRPC stream that the watches of one client share, and
// another one when that is dead. The zero value is ready for use. Its methods
// may be called from several goroutines.
type Streams struct {
	mu       sync.Mutex    // guards what follows, but pulse
	current  string        // the value of key; empty before the first use
	replaced time.Time     // when current replaced another one
	pause    time.Duration // from replaced until watches may use current
	pulse    Pulse         // of current
}

// Context returns ctx with the current stream's metadata, in place of all
// outgoing metadata that ctx has. A watch under it shares the current stream.
func (s *Streams) Context(ctx context.Context) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == "" {
		s.current = next()
	}
	return metadata.NewOutgoingContext(ctx, metadata.Pairs(key, s.current))
}

// Replace makes Context choose a fresh stream, because the one of used is dead.
// used is a context that Context returned, or one derived from it. If another
// watch has replaced that stream already, Replace does nothing and reports false.
func (s *Streams) Replace(used context.Context) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.names(used) {
		return false
	}
	s.replace()
	return true
}

// names reports whether used is of the current stream. The caller holds mu.
func (s *Streams) names(used context.Context) bool {
	md, _ := metadata.FromOutgoingContext(used)
	values := md.Get(key)
	return len(values) == 1 && values[0] == s.current
}

// replace takes another stream. The caller holds mu.
func (s *Streams) replace() {
	now := time.Now()
	if lived := now.Sub(s.replaced); lived > 2*s.pause+time.Second {
		s.pause = 0
	} else {
		s.pause = min(max(2*s.pause, firstPause), maxPause)
	}
	s.current, s.replaced = next(), now
	s.pulse.Opened()
}

// Wait waits until watches may use the current stream: at once, unless the
// streams before it died soon after they were opened. Each fresh stream costs a
// login. It returns the error of ctx if that ends first.
func (s *Streams) Wait(ctx context.Context) error {
	s.mu.Lock()
	left := time.Until(s.replaced.Add(s.pause))
	s.mu.Unlock()
	if left <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func next() string { return strconv.FormatUint(last.Add(1), 10) }
