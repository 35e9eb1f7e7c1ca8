// Package etcderr says what an error of etcd's client means for the request that met it: whether etcd has surely not carried
// it out, and whether it is worth another try.
package etcderr

import (
	"context"
	"errors"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var errLearner = rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner)

// Passing reports whether err is a state that ends by itself: no leader, a lost connection, a time-out, too many requests, a
// learner, which answers nothing while other members do. The same request may be sent again, after a pause. It may have been
// carried out, unless Refused(err). For an error of a dead token, which the client mends by a login, see Of.
func Passing(err error) bool {
	var f final
	switch {
	case err == nil, errors.As(err, &f):
		return false
	case errors.Is(err, rpctypes.ErrTooManyRequests), errors.Is(err, rpctypes.ErrAuthOldRevision), errors.Is(err, rpctypes.ErrInvalidAuthToken),
		errors.Is(err, rpctypes.ErrNotLeader), errors.Is(err, rpctypes.ErrLeaderChanged), errors.Is(err, errLearner), errors.Is(err, rpctypes.ErrGRPCNotSupportedForLearner):
		return true
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded): // of the caller's context, or of a patience
		return false
	}
	switch Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Aborted, codes.Canceled: // here, those of the server
		return true
	case codes.Unknown: // etcd gives errors of its raft no code: of a leader that hands over, and of a member that ends
		return strings.Contains(err.Error(), "raft proposal dropped") || strings.Contains(err.Error(), "raft: stopped")
	}
	return false
}

// A final error does not pass, whatever it is.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// Of returns an error of the client's calls as one that does not pass, if it says that the token has died that the program
// gave the client: then the client cannot log in. A JWT dies with each change of users and roles, too.
func Of(client *clientv3.Client, err error) error {
	if err == nil || client.Token == "" {
		return err
	}
	jwt := strings.Count(client.Token, ".") == 2
	if errors.Is(err, rpctypes.ErrInvalidAuthToken) || jwt && errors.Is(err, rpctypes.ErrAuthOldRevision) {
		return final{err}
	}
	return err
}

// Refused reports whether etcd, or the client before it, has surely not carried out the request.
func Refused(err error) bool {
	switch {
	case err == nil:
		return false
	case strings.Contains(err.Error(), "trying to send message larger than max"):
		return true
	case errors.Is(err, rpctypes.ErrNoSpace): // etcd says that, too, of the request with which it met its quota
		return false
	}
	var e rpctypes.EtcdError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied, codes.ResourceExhausted,
		codes.FailedPrecondition, codes.OutOfRange, codes.Unimplemented, codes.Unauthenticated:
		return true
	}
	return false
}

// Contents reports whether etcd refused a transaction for what is in it, so that parts of it may be accepted alone: a
// permission, a limit, a lease that is gone, or a put while etcd has no space.
func Contents(err error) bool {
	switch {
	case err == nil, errors.Is(err, rpctypes.ErrAuthOldRevision), errors.Is(err, rpctypes.ErrUserEmpty), errors.Is(err, rpctypes.ErrAuthFailed):
		return false
	case errors.Is(err, rpctypes.ErrNoSpace), errors.Is(err, rpctypes.ErrLeaseNotFound), strings.Contains(err.Error(), "trying to send message larger than max"):
		return true
	}
	var e rpctypes.EtcdError
	return errors.As(err, &e) && (e.Code() == codes.InvalidArgument || e.Code() == codes.PermissionDenied)
}

// TooLarge reports whether a request is too large: for etcd, or for gRPC on either side.
func TooLarge(err error) bool {
	return errors.Is(err, rpctypes.ErrRequestTooLarge) || err != nil && strings.Contains(err.Error(), "message larger than max")
}

// Ended reports whether err says no more than that a context has ended.
func Ended(err error) bool {
	switch Code(err) {
	case codes.DeadlineExceeded, codes.Canceled, codes.Unknown:
		return true
	}
	return false
}

// Code is the gRPC code of err, codes.Unknown if it has none.
func Code(err error) codes.Code {
	var e rpctypes.EtcdError
	if errors.As(err, &e) {
		return e.Code()
	}
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		return s.GRPCStatus().Code()
	}
	return codes.Unknown
}
