package keywatch_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/keywatch"
)

// A server is etcd's end of streams of watches.
type server struct {
	mu      sync.Mutex
	opened  int
	current *stream
	mute    bool   // nothing is answered
	refuse  string // the reason for which watches are refused
}

// A stream is one of them.
type stream struct {
	pb.Watch_WatchClient
	ctx  context.Context
	s    *server
	keys []string
	down chan *pb.WatchResponse
}

func (s *server) open(ctx context.Context) (pb.Watch_WatchClient, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	s.current = &stream{ctx: ctx, s: s, down: make(chan *pb.WatchResponse, 10_000)}
	return s.current, nil
}

func (st *stream) Send(r *pb.WatchRequest) error {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	switch create := r.GetCreateRequest(); {
	case st.s.mute:
	case create == nil:
		st.down <- &pb.WatchResponse{}
	case st.s.refuse != "":
		st.down <- &pb.WatchResponse{Created: true, Canceled: true, CancelReason: st.s.refuse}
	default:
		st.keys = append(st.keys, string(create.Key))
		st.down <- &pb.WatchResponse{Created: true}
	}
	return nil
}

func (st *stream) Recv() (*pb.WatchResponse, error) {
	select {
	case r := <-st.down:
		return r, nil
	case <-st.ctx.Done():
		return nil, st.ctx.Err()
	}
}

// A bed is a Hub on a server, in virtual time.
type bed struct {
	*keywatch.Hub
	server
	placed map[string]bool
	broken []error
	events int
	told   sync.Mutex
}

func inBed(t *testing.T, f func(t *testing.T, b *bed)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bed{placed: make(map[string]bool)}
		b.Hub = &keywatch.Hub{
			Open: b.open,
			Placed: func(keys []string) {
				b.told.Lock()
				defer b.told.Unlock()
				for _, key := range keys {
					b.placed[key] = true
				}
			},
			Broken: func(err error) {
				b.told.Lock()
				defer b.told.Unlock()
				b.broken = append(b.broken, err)
				clear(b.placed)
			},
			Events: func(events []*clientv3.Event) {
				b.told.Lock()
				defer b.told.Unlock()
				b.events += len(events)
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { b.Run(ctx) })
		f(t, b)
		cancel()
		run.Wait()
	})
}

// wantPlaced fails the test unless the watches of so many keys are in place.
func (b *bed) wantPlaced(t *testing.T, n int) {
	t.Helper()
	synctest.Wait()
	b.told.Lock()
	defer b.told.Unlock()
	if len(b.placed) != n {
		t.Errorf("%d watches are in place, want %d", len(b.placed), n)
	}
}

func TestKeysShareAStreamWhichIsOpenOnlyWhileThereAreAny(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		time.Sleep(time.Minute)
		if b.opened != 0 {
			t.Error("a stream without a key")
		}
		for i := range 1000 {
			b.Add(fmt.Sprint(i))
			b.Add(fmt.Sprint(i))
		}
		b.wantPlaced(t, 1000)
		time.Sleep(time.Minute)
		if b.opened != 1 || len(b.current.keys) != 1000 {
			t.Errorf("%d streams, %d watches", b.opened, len(b.current.keys))
		}
		b.current.down <- &pb.WatchResponse{Events: []*mvccpb.Event{{}, {}}}
		synctest.Wait()
		for i := range 1000 {
			b.Remove(fmt.Sprint(i))
		}
		synctest.Wait()
		if b.events != 2 || b.current.ctx.Err() == nil {
			t.Errorf("%d events; the stream ended with %v", b.events, b.current.ctx.Err())
		}
	})
}

func TestWatchesOfKeysThatAreNotWantedGoWithTheirStream(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.Add("stays")
		for i := range 1000 {
			b.Add(fmt.Sprint(i))
			synctest.Wait()
			b.Remove(fmt.Sprint(i))
		}
		synctest.Wait()
		if !b.placed["stays"] {
			t.Error("the key that stays is not watched")
		}
		if n := len(b.current.keys); n > 70 || b.opened > 20 {
			t.Errorf("the stream has %d watches; %d streams", n, b.opened)
		}
	})
}

func TestAStreamThatIsSilentIsReplaced(t *testing.T) {
	for name, proved := range map[string]bool{"that has answered before": true, "that never answered": false} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				b.Add("key")
				b.wantPlaced(t, 1)
				if proved {
					time.Sleep(5 * time.Second)
				}
				b.server.mu.Lock()
				b.mute = true
				b.server.mu.Unlock()
				time.Sleep(25 * time.Second)
				b.server.mu.Lock()
				opened := b.opened
				b.mute = false
				b.server.mu.Unlock()
				if opened < 2 {
					t.Error("it is trusted")
				}
				time.Sleep(5 * time.Second)
				b.wantPlaced(t, 1)
			})
		})
	}
}

func TestAStreamThatTellsOfChangesIsKeptThoughItAnswersNoRequest(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.Add("key")
		b.wantPlaced(t, 1)
		b.server.mu.Lock()
		b.mute = true
		b.server.mu.Unlock()
		for range 40 {
			time.Sleep(3 * time.Second)
			b.current.down <- &pb.WatchResponse{Events: []*mvccpb.Event{{}}}
		}
		synctest.Wait()
		if b.opened != 1 {
			t.Errorf("%d streams", b.opened)
		}
	})
}

func TestAStreamOnWhichWatchesAreRefusedIsReplacedWithPauses(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.refuse = "etcdserver: invalid auth token"
		b.Add("key")
		time.Sleep(30 * time.Second)
		b.server.mu.Lock()
		if b.opened < 5 || b.opened > 50 {
			t.Errorf("%d streams in 30 s", b.opened)
		}
		b.refuse = ""
		b.server.mu.Unlock()
		time.Sleep(5 * time.Second)
		b.wantPlaced(t, 1)
		if err := b.broken[0]; err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("broken: %v", err)
		}
	})
}
