package locker_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

func TestAnErrorTellsWhoIsAhead(t *testing.T) {
	t.Parallel()
	err := locker.Error{Op: "try", Key: "k", Err: locker.ErrLocked, Blocker: &locker.Owner{Name: "a:1", Token: 7}}
	if got, want := err.Error(), `elock: try "k": locker: lock is held (ahead: a:1 token 7)`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEveryErrorCanBeMatched(t *testing.T) {
	t.Parallel()
	s := etcdtest.Start(t)
	prefix := s.Prefix(t)
	var denied sync.Map // kinds of calls that etcd denies
	f := &faults{before: func(_ context.Context, c call) error {
		if _, no := denied.Load(c.kind); no {
			return rpctypes.ErrPermissionDenied
		}
		return nil
	}}
	a, b := newLocker(t, faulty(s.Client(t), f), locker.WithPrefix(prefix)), newLocker(t, s.Client(t), locker.WithPrefix(prefix))
	k := keyspace.MustParse("k")
	locktest.Acquire(t, b, keyspace.MustParse("held"))
	late, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	mine := errors.New("mine")
	caused, stop := context.WithCancelCause(t.Context())
	stop(mine)
	closed := newLocker(t, s.Client(t))
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}

	rows := []struct {
		op, key string
		do      func() error
		want    []error
	}{
		{"try", "held", func() error { return locktest.Second(a.TryAcquire(t.Context(), keyspace.MustParse("held"))) }, []error{locker.ErrLocked}},
		{"acquire", "k", func() error { return locktest.Second(a.Acquire(t.Context(), k, locker.TTL(0))) }, []error{locker.ErrInvalidTTL}},
		{"acquire", "", func() error { return locktest.Second(a.Acquire(t.Context(), keyspace.Key{})) }, []error{keyspace.ErrInvalid}},
		{"acquire", "k", func() error { return locktest.Second(a.Acquire(late, k)) }, []error{context.DeadlineExceeded}},
		{"run", "k", func() error { return a.RunInLock(t.Context(), k, nil) }, []error{locker.ErrInvalidOption}},
		{"acquire", "k", func() error { return a.RunInLock(caused, k, nothing) }, []error{context.Canceled, mine}},
		{"try", "k", func() error { return locktest.Second(closed.TryAcquire(t.Context(), k)) }, []error{locker.ErrClosed}},
		{"try", "k", func() error {
			denied.Store("try", true)
			defer denied.Delete("try")
			return locktest.Second(a.TryAcquire(t.Context(), k))
		}, []error{rpctypes.ErrPermissionDenied}},
		{"release", "k", func() error {
			h := locktest.Acquire(t, a, k)
			denied.Store("delete", true)
			defer denied.Delete("delete")
			return h.Release(t.Context())
		}, []error{rpctypes.ErrPermissionDenied}},
	}
	for _, r := range rows {
		err := r.do()
		locktest.WantErr(t, err, r.want...)
		var e *locker.Error
		if !errors.As(err, &e) || e.Op != r.op || e.Key != r.key {
			t.Errorf("got %#v, want an Error of %s %q", err, r.op, r.key)
		}
		if strings.Count(err.Error(), "elock:") != 1 {
			t.Errorf("the error was wrapped more than once: %v", err)
		}
	}
}
