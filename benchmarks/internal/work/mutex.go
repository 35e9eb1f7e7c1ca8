package work

import (
	"context"
	"strconv"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// Mutex is etcd's concurrency.Mutex with one session for each process. Goroutines of one process must keep to keys of their
// own: under one session two mutexes of one key do not exclude each other.
func Mutex(name string) Impl {
	return Impl{name, func(tb testing.TB, s *Site) Process {
		tb.Helper()
		session := newSession(tb, s.client(tb))
		return func() Worker {
			return func(key int) Lock { return concurrency.NewMutex(session, s.path(name, key)) }
		}
	}}
}

// MutexEach is concurrency.Mutex with a session for each goroutine, so that goroutines of one process exclude each other.
func MutexEach(name string) Impl {
	return Impl{name, func(tb testing.TB, s *Site) Process {
		tb.Helper()
		client := s.client(tb)
		return func() Worker {
			session := newSession(tb, client)
			return func(key int) Lock { return concurrency.NewMutex(session, s.path(name, key)) }
		}
	}}
}

// MutexBehindMutex is concurrency.Mutex with one session for each process, and a sync.Mutex for each key before it: what
// somebody does who knows that the goroutines would not exclude each other, and wants few sessions.
func MutexBehindMutex(name string) Impl {
	return Impl{name, func(tb testing.TB, s *Site) Process {
		tb.Helper()
		session := newSession(tb, s.client(tb))
		var mutexes keyed[sync.Mutex]
		return func() Worker {
			return func(key int) Lock {
				return &mutexBehindMutex{mutexes.get(key), concurrency.NewMutex(session, s.path(name, key))}
			}
		}
	}}
}

// SessionPerLock is concurrency.Mutex with a new session for every time that it is locked, as in the original ELocker.
func SessionPerLock(name string) Impl {
	return Impl{name, func(tb testing.TB, s *Site) Process {
		tb.Helper()
		client := s.client(tb)
		return func() Worker {
			return func(key int) Lock { return &sessionLock{client: client, path: s.path(name, key)} }
		}
	}}
}

func (s *Site) path(name string, key int) string {
	return "/" + s.prefix + "/" + name + "/key-" + strconv.Itoa(key)
}

func newSession(tb testing.TB, client *clientv3.Client) *concurrency.Session {
	tb.Helper()
	session, err := concurrency.NewSession(client, sessionTTL)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := session.Close(); err != nil {
			tb.Error(err)
		}
	})
	return session
}

var sessionTTL = concurrency.WithTTL(int(TTL.Seconds()))

type mutexBehindMutex struct {
	local *sync.Mutex
	*concurrency.Mutex
}

func (m *mutexBehindMutex) Lock(ctx context.Context) error {
	m.local.Lock()
	err := m.Mutex.Lock(ctx)
	if err != nil {
		m.local.Unlock()
	}
	return err
}

func (m *mutexBehindMutex) Unlock(ctx context.Context) error {
	defer m.local.Unlock()
	return m.Mutex.Unlock(ctx)
}

type sessionLock struct {
	client  *clientv3.Client
	path    string
	session *concurrency.Session
	mutex   *concurrency.Mutex
}

func (l *sessionLock) Lock(ctx context.Context) error {
	return l.lock(func(m *concurrency.Mutex) error { return m.Lock(ctx) })
}

func (l *sessionLock) TryLock(ctx context.Context) error {
	return l.lock(func(m *concurrency.Mutex) error { return m.TryLock(ctx) })
}

func (l *sessionLock) lock(how func(*concurrency.Mutex) error) (err error) {
	if l.session, err = concurrency.NewSession(l.client, sessionTTL); err != nil {
		return err
	}
	l.mutex = concurrency.NewMutex(l.session, l.path)
	if err = how(l.mutex); err != nil {
		l.session.Close()
	}
	return err
}

func (l *sessionLock) Unlock(ctx context.Context) error {
	if err := l.mutex.Unlock(ctx); err != nil {
		return err
	}
	return l.session.Close()
}
