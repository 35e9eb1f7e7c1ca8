package work

import (
	"context"
	"errors"
	"fmt"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// WriteAndNotice is the limit for a hot key: clients in a ring, each of which goes on when it is noticed of the write of the
// one before, and then writes itself. So every hand-over is one commit and one notice of a watch, and nothing else. Each
// client must have as many turns as the others. It is to be opened by so many.
func WriteAndNotice(name string, clients int) Impl {
	opened := 0
	return Impl{name, func(tb testing.TB, s *Site) Process {
		tb.Helper()
		opened++
		return writeAndNotice(name, clients, opened-1).Open(tb, s)
	}}
}

// writeAndNotice is the client at place i of the ring.
func writeAndNotice(name string, clients, i int) Impl {
	return Impl{name, func(tb testing.TB, s *Site) Process {
		tb.Helper()
		path := func(i int) string { return fmt.Sprintf("/%s/%s/%d", s.prefix, name, i%clients) }
		client := s.client(tb)
		st := &station{kv: client.KV, path: path(i), first: i == 0}
		st.before = client.Watch(clientv3.WithRequireLeader(tb.Context()), path(i+clients-1), clientv3.WithCreatedNotify())
		created := <-st.before
		if err := created.Err(); err != nil {
			tb.Fatal(err)
		}
		return func() Worker { return func(int) Lock { return st } }
	}}
}

type station struct {
	kv     clientv3.KV
	path   string
	before clientv3.WatchChan // of the station before
	first  bool               // it begins
}

func (s *station) Lock(ctx context.Context) error {
	if s.first {
		s.first = false
		return nil
	}
	select {
	case resp := <-s.before:
		if len(resp.Events) == 0 {
			return errors.Join(errors.New("work: watch ended"), resp.Err())
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *station) Unlock(ctx context.Context) error {
	_, err := s.kv.Put(ctx, s.path, "value")
	return err
}
