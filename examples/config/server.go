package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/phpgao/elock/locker"
)

// A server follows the limits, with a Locker of its own: it might be on another
// machine.
type server struct {
	name   string
	locker *locker.Locker
	saw    chan Limits
}

// follow puts every value of the limits into force, until ctx is done.
func (s *server) follow(ctx context.Context, print *log.Logger) {
	defer s.locker.Close()
	for now, err := range limits(s.locker).Watch(ctx) {
		if err != nil { // it does not decode, say: the limits before stay in force
			print.Printf("    %s: %v", s.name, err)
			continue
		}
		limits := now.Value
		if !now.Stored() { // not yet, or no longer: zero limits would let nothing through
			limits = builtIn
		}
		print.Printf("    %s: %v", s.name, limits)
		s.saw <- limits
	}
}

// expect waits until the server has seen these values, and no others between.
func (s *server) expect(ctx context.Context, values ...Limits) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, want := range values {
		select {
		case got := <-s.saw:
			if got != want {
				return fmt.Errorf("%s saw %v instead of %v", s.name, got, want)
			}
		case <-ctx.Done():
			return fmt.Errorf("%s does not see %v: %w", s.name, want, ctx.Err())
		}
	}
	return nil
}
