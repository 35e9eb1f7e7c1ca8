package locktest

import (
	"io"
	"testing"

	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
)

// OpenPair returns the Lockers of two nodes, "a" and "b", without etcd, and what closes
// them. It is for examples, which have no test. A program calls locker.New.
func OpenPair() (a, b *locker.Locker, closeAll func()) {
	s := new(session)
	a, b = lockertest.NewPair(s)
	return a, b, s.end
}

// A session stands in for a test.
type session struct {
	testing.TB
	cleanups []func()
}

func (s *session) Helper()               {}
func (s *session) Output() io.Writer     { return io.Discard }
func (s *session) Errorf(string, ...any) {}
func (s *session) Cleanup(f func())      { s.cleanups = append(s.cleanups, f) }
func (s *session) end() {
	for i := range s.cleanups {
		s.cleanups[len(s.cleanups)-1-i]()
	}
}
