package lockertest_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

var (
	key   = keyspace.MustParse("billing/account/42")
	other = keyspace.MustParse("account/42") // its path in etcd ends like that of key
)

// virtual runs f in virtual time.
func virtual(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func acquire(t *testing.T, l *locker.Locker, key keyspace.Key, opts ...locker.AcquireOption) *locker.Hold {
	t.Helper()
	h, err := l.Acquire(t.Context(), key, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// wantLost waits until h has ended, and fails the test unless that is for why.
func wantLost(t *testing.T, h *locker.Hold, why locker.Reason) {
	t.Helper()
	<-h.Context().Done()
	var lost *locker.LostError
	if !errors.As(h.Err(), &lost) || lost.Reason != why {
		t.Errorf("%v ended with %v, want %v", h, h.Err(), why)
	}
}

// A failing is a test that notes its failures instead of failing.
type failing struct {
	*testing.T
	mu   sync.Mutex
	said []string
}

func (f *failing) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said = append(f.said, fmt.Sprintf(format, args...))
}

func (f *failing) Fatal(args ...any) {
	f.Errorf("%s", fmt.Sprint(args...))
	runtime.Goexit()
}

func (f *failing) wantSaid(want string) {
	f.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.said) != 1 || !strings.Contains(f.said[0], want) {
		f.T.Errorf("the test said %q, want %q", f.said, want)
	}
}
