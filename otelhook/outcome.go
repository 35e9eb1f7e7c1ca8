package otelhook

import (
	"context"
	"errors"

	"github.com/phpgao/elock/locker"
)

// An outcome is how an operation ended. An error type makes it an error.
type outcome struct{ name, errorType string }

// acquireOutcome says how an acquire under ctx ended with err. A lock that is
// taken and a caller that changed its mind are no errors.
func acquireOutcome(ctx context.Context, err error) outcome {
	switch {
	case err == nil:
		return outcome{name: "acquired"}
	case errors.Is(err, locker.ErrLost):
		return outcome{"lost", lossType(err)} // of a hold around it, whose end ended ctx
	}
	// etcd and gRPC return context errors of their own, for other deadlines.
	done := ctx.Err()
	ended := done != nil && errors.Is(err, done)
	switch {
	case ended && done == context.Canceled:
		return outcome{name: "canceled"}
	case errors.Is(err, locker.ErrUnavailable):
		return outcome{"unavailable", "unavailable"}
	case ended:
		return outcome{"deadline", "deadline"}
	case errors.Is(err, locker.ErrLocked):
		return outcome{name: "locked"}
	}
	return outcome{"error", errorType(err)}
}

// holdOutcome says how a hold ended. Only its user and Close end it rightly.
func holdOutcome(cause error) outcome {
	switch {
	case errors.Is(cause, locker.ErrLost):
		why := lossType(cause)
		if why == "evicted" {
			return outcome{why, why}
		}
		return outcome{"lost", why}
	case errors.Is(cause, locker.ErrReleased):
		return outcome{name: "released"}
	case errors.Is(cause, locker.ErrMaxHeld):
		return outcome{"max_held", "max_held"}
	case errors.Is(cause, locker.ErrClosed):
		return outcome{name: "closed"}
	}
	return outcome{"error", errorType(cause)}
}

// timeoutOutcome says how the monitor's release ended.
func timeoutOutcome(err error) outcome {
	switch {
	case err == nil:
		return outcome{name: "released"}
	case errors.Is(err, locker.ErrLost):
		return outcome{"lost", lossType(err)}
	}
	return outcome{"error", errorType(err)}
}

// errorType is what the errors of this library are not: then it is etcd's, or
// the network's before it.
func errorType(err error) string {
	switch {
	case errors.Is(err, locker.ErrClosed):
		return "closed"
	case errors.Is(err, locker.ErrUnavailable):
		return "unavailable"
	}
	return "etcd"
}

func lossType(err error) string {
	var lost *locker.LostError
	if errors.As(err, &lost) {
		switch lost.Reason {
		case locker.ReasonLeaseExpired:
			return "lease_expired"
		case locker.ReasonDeadline:
			return "lease_deadline"
		case locker.ReasonKeyDeleted:
			return "key_deleted"
		case locker.ReasonEvicted:
			return "evicted"
		}
	}
	return "_OTHER" // OpenTelemetry's word for what is not in the set
}
