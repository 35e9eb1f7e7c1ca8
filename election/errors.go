package election

import (
	"errors"
	"fmt"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

var (
	// ErrNoLeader says that nobody leads at this moment.
	ErrNoLeader = errors.New("election: no leader")
	// ErrNoCandidate says that ResignTo did not hand over, as no candidate of that name
	// came in time, or only behind one of another library. The term goes on.
	ErrNoCandidate = errors.New("election: no such candidate")
)

// invalid returns an error that matches locker.ErrInvalidOption.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{locker.ErrInvalidOption}, args...)...)
}

var (
	errNilContext = invalid("nil Context")
	errZeroKey    = fmt.Errorf("%w: %w: zero Key", locker.ErrInvalidOption, keyspace.ErrInvalid)
)

// named returns err as that of an operation of an election, with the blocker if it was
// an acquire that failed.
func named(op string, key keyspace.Key, err error) error {
	if err == nil {
		return nil
	}
	named := &locker.Error{Op: op, Key: key.String(), Err: err}
	if e, ok := err.(*locker.Error); ok {
		named.Err, named.Blocker = e.Err, e.Blocker
	}
	return named
}
