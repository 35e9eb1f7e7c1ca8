package etcderr

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestErrorsThatPassAreNotRefusals(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		rpctypes.ErrLeaderChanged, rpctypes.ErrNoLeader, rpctypes.ErrNotLeader, rpctypes.ErrTimeout, rpctypes.ErrTimeoutDueToLeaderFail,
		rpctypes.ErrTimeoutDueToConnectionLost, rpctypes.ErrTooManyRequests, rpctypes.ErrStopped, rpctypes.ErrUnhealthy,
		rpctypes.ErrGRPCLeaderChanged, rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner), rpctypes.ErrGRPCNotSupportedForLearner, rpctypes.ErrInvalidAuthToken, rpctypes.ErrAuthOldRevision,
		status.Error(codes.Unavailable, "connection refused"), status.Error(codes.Canceled, "reset"),
		fmt.Errorf("get: %w", rpctypes.ErrNoLeader),
		status.Error(codes.Unknown, "raft proposal dropped"), rpctypes.Error(status.Error(codes.Unknown, "raft: stopped")),
	} {
		if !Passing(err) {
			t.Errorf("%v passes", err)
		}
	}
	for _, err := range []error{
		nil, rpctypes.ErrPermissionDenied, rpctypes.ErrAuthFailed, rpctypes.ErrUserEmpty, rpctypes.ErrNoSpace, rpctypes.ErrRequestTooLarge,
		rpctypes.ErrTooManyOps, rpctypes.ErrCompacted, rpctypes.ErrCorrupt, context.Canceled, context.DeadlineExceeded,
		status.Error(codes.ResourceExhausted, "grpc: received message larger than max (5 vs. 4)"), errors.New("x"),
	} {
		if Passing(err) {
			t.Errorf("%v does not pass by itself", err)
		}
	}
}

func TestARequestThatIsTooLargeIsKnownWhoeverRefusesIt(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		rpctypes.ErrRequestTooLarge,
		status.Error(codes.ResourceExhausted, "grpc: received message larger than max (5 vs. 4)"),
		status.Error(codes.ResourceExhausted, "trying to send message larger than max (5 vs. 4)"),
	} {
		if !TooLarge(err) {
			t.Errorf("%v says that a request is too large", err)
		}
	}
	if TooLarge(nil) || TooLarge(rpctypes.ErrTooManyRequests) {
		t.Error("these say nothing of the size")
	}
}

func TestADeadTokenThatTheProgramGaveTheClientDoesNotPass(t *testing.T) {
	t.Parallel()
	login, simple, jwt := clientv3.NewCtxClient(t.Context()), clientv3.NewCtxClient(t.Context()), clientv3.NewCtxClient(t.Context())
	simple.Token, jwt.Token = "abc.123", "a.b.c"
	for _, x := range []struct {
		client *clientv3.Client
		err    error
		passes bool
	}{
		{login, rpctypes.ErrInvalidAuthToken, true}, {login, rpctypes.ErrAuthOldRevision, true},
		{simple, rpctypes.ErrInvalidAuthToken, false}, {simple, rpctypes.ErrAuthOldRevision, true},
		{jwt, rpctypes.ErrInvalidAuthToken, false}, {jwt, rpctypes.ErrAuthOldRevision, false},
		{jwt, rpctypes.ErrNoLeader, true}, {jwt, nil, false},
	} {
		err := Of(x.client, x.err)
		if Passing(err) != x.passes || !errors.Is(err, x.err) {
			t.Errorf("token %q, %v: got %v, which passes: %v", x.client.Token, x.err, err, Passing(err))
		}
	}
	if err := Of(jwt, rpctypes.ErrInvalidAuthToken); !Refused(err) {
		t.Errorf("etcd has not carried out what it answers with %v", err)
	}
}

func TestARefusalSaysThatNothingWasCarriedOut(t *testing.T) {
	t.Parallel()
	tooLarge := errors.New("grpc: trying to send message larger than max (5 vs. 4)")
	for _, err := range []error{
		rpctypes.ErrPermissionDenied, rpctypes.ErrRequestTooLarge, rpctypes.ErrTooManyOps, rpctypes.ErrLeaseNotFound, rpctypes.ErrLeaseExist,
		rpctypes.ErrCompacted, rpctypes.ErrInvalidAuthToken, rpctypes.ErrAuthFailed, tooLarge, fmt.Errorf("txn: %w", rpctypes.ErrTooManyRequests),
	} {
		if !Refused(err) {
			t.Errorf("%v is a refusal", err)
		}
	}
	for _, err := range []error{
		nil, rpctypes.ErrNoSpace, rpctypes.ErrTimeout, rpctypes.ErrLeaderChanged, rpctypes.ErrNoLeader, context.Canceled,
		context.DeadlineExceeded, status.Error(codes.Unavailable, "reset"), errors.New("x"),
	} {
		if Refused(err) {
			t.Errorf("after %v the request may have been carried out", err)
		}
	}
}

func TestContentsAreWhyATransactionIsRefused(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		rpctypes.ErrPermissionDenied, rpctypes.ErrRequestTooLarge, rpctypes.ErrTooManyOps, rpctypes.ErrLeaseNotFound, rpctypes.ErrNoSpace,
		errors.New("grpc: trying to send message larger than max (5 vs. 4)"),
	} {
		if !Contents(err) {
			t.Errorf("%v is about what is in it", err)
		}
	}
	for _, err := range []error{
		nil, rpctypes.ErrAuthOldRevision, rpctypes.ErrUserEmpty, rpctypes.ErrAuthFailed, rpctypes.ErrTimeout, rpctypes.ErrTooManyRequests,
		context.Canceled, errors.New("x"),
	} {
		if Contents(err) {
			t.Errorf("%v is not about what is in it", err)
		}
	}
}

func TestTheEndOfAContextSaysNoMore(t *testing.T) {
	t.Parallel()
	for _, err := range []error{context.Canceled, context.DeadlineExceeded, status.Error(codes.Canceled, "x"), status.Error(codes.DeadlineExceeded, "x")} {
		if !Ended(err) {
			t.Errorf("%v says more", err)
		}
	}
	for _, err := range []error{rpctypes.ErrPermissionDenied, status.Error(codes.Unavailable, "x")} {
		if Ended(err) {
			t.Errorf("%v says no more", err)
		}
	}
}
