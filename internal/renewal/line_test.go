package renewal_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/clock"
	"github.com/phpgao/elock/internal/renewal"
)

var errBroken = errors.New("test: broken")

const broke = "renewal: the stream broke: test: broken" // for the leases that it carried

// A bench is a Line with the streams that it has opened. Leases are named by their IDs.
type bench struct {
	*renewal.Line[string]
	mu      sync.Mutex
	refuse  error // of streams
	refused []context.Context
	streams []*remote
	calls   []clientv3.LeaseID
	once    func(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseKeepAliveResponse, error)
	took    []taken
}

type taken struct {
	lease string
	sent  clock.Instant
	ttl   int64
	err   string
}

// A remote is etcd's end of a stream.
type remote struct {
	pb.Lease_LeaseKeepAliveClient
	ctx     context.Context
	asked   chan int64
	answers chan *pb.LeaseKeepAliveResponse
	failed  chan struct{}
}

func (r *remote) Send(req *pb.LeaseKeepAliveRequest) error {
	select {
	case <-r.failed:
		return io.EOF
	case <-r.ctx.Done():
		return r.ctx.Err()
	case r.asked <- req.ID:
		return nil
	}
}

func (r *remote) Recv() (*pb.LeaseKeepAliveResponse, error) {
	select {
	case <-r.failed:
		return nil, errBroken
	case <-r.ctx.Done():
		return nil, r.ctx.Err()
	case a := <-r.answers:
		return a, nil
	}
}

func onBench(t *testing.T, streams bool, f func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		base, end := context.WithCancel(context.Background())
		b := new(bench)
		var goroutines sync.WaitGroup
		cfg := renewal.Config{
			Once: func(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseKeepAliveResponse, error) {
				b.mu.Lock()
				b.calls = append(b.calls, id)
				b.mu.Unlock()
				return b.once(ctx, id)
			},
			Base:  base,
			Spawn: func(f func()) bool { goroutines.Go(f); return true },
		}
		if streams {
			cfg.Stream = func(ctx context.Context) (pb.Lease_LeaseKeepAliveClient, error) {
				b.mu.Lock()
				defer b.mu.Unlock()
				if b.refuse != nil {
					b.refused = append(b.refused, ctx)
					return nil, b.refuse
				}
				r := &remote{ctx: ctx, asked: make(chan int64, 100), answers: make(chan *pb.LeaseKeepAliveResponse), failed: make(chan struct{})}
				b.streams = append(b.streams, r)
				return r, nil
			}
		}
		b.Line = renewal.New[string](cfg)
		f(t, b)
		b.Close()
		end()
		goroutines.Wait()
	})
}

func request(id clientv3.LeaseID) renewal.Request[string] {
	return renewal.Request[string]{Lease: string(rune('a' + id)), ID: id, Context: context.Background(), Patience: 3 * time.Second}
}

// send sends renewals of leases, and waits until etcd has them.
func (b *bench) send(t *testing.T, ids ...clientv3.LeaseID) clock.Instant {
	t.Helper()
	now := clock.Read()
	var rs []renewal.Request[string]
	for _, id := range ids {
		rs = append(rs, request(id))
	}
	if again, ok := b.Send(rs, now); !ok {
		t.Fatalf("sent nothing; again in %v", again.Until(now))
	}
	synctest.Wait()
	return now
}

// take takes what has come, and returns it.
func (b *bench) take(t *testing.T) []taken {
	synctest.Wait()
	b.took = nil
	for {
		select {
		case a := <-b.Answers():
			b.Take(a, func(of string, sent clock.Instant, ttl int64, err error) {
				text := ""
				if err != nil {
					text = err.Error()
				}
				if errors.Is(err, errBroken) && b.streams != nil {
					t.Errorf("the error of a stream counts as that of %s", of)
				}
				b.took = append(b.took, taken{of, sent, ttl, text})
			})
			synctest.Wait()
		default:
			slices.SortFunc(b.took, func(x, y taken) int { return int(x.lease[0]) - int(y.lease[0]) })
			return b.took
		}
	}
}

func (r *remote) answer(id, ttl int64) { r.answers <- &pb.LeaseKeepAliveResponse{ID: id, TTL: ttl} }

func (b *bench) want(t *testing.T, want ...taken) {
	t.Helper()
	if got := b.take(t); !slices.Equal(got, want) {
		t.Errorf("took %v, want %v", got, want)
	}
}

func TestAnswers(t *testing.T) {
	t.Run("over one stream", func(t *testing.T) {
		onBench(t, true, func(t *testing.T, b *bench) {
			first := b.send(t, 1, 2)
			time.Sleep(time.Second)
			second := b.send(t, 3)
			if len(b.streams) != 1 || len(b.streams[0].asked) != 3 {
				t.Fatalf("%d streams", len(b.streams))
			}
			b.streams[0].answer(3, 30)
			b.streams[0].answer(1, 0)
			b.want(t, taken{"b", first, 0, ""}, taken{"d", second, 30, ""})
			b.streams[0].answer(1, 10) // it was answered
			b.streams[0].answer(9, 10) // nobody asked
			b.want(t)
		})
	})
	t.Run("of the last of two", func(t *testing.T) {
		onBench(t, true, func(t *testing.T, b *bench) {
			b.send(t, 1)
			time.Sleep(time.Second)
			again := b.send(t, 1)
			b.streams[0].answer(1, 10)
			b.want(t, taken{"b", again, 10, ""})
		})
	})
	t.Run("nothing to send", func(t *testing.T) {
		onBench(t, true, func(t *testing.T, b *bench) {
			b.send(t)
			if len(b.streams) != 0 {
				t.Error("it opened a stream")
			}
		})
	})
}

func TestOverdue(t *testing.T) {
	onBench(t, true, func(t *testing.T, b *bench) {
		b.Overdue(1) // without a stream
		first := b.send(t, 1, 2)
		time.Sleep(time.Second)
		b.Overdue(1)
		again := b.send(t, 1)
		if len(b.streams) != 2 || len(b.streams[1].asked) != 1 {
			t.Fatalf("%d streams", len(b.streams))
		}
		b.Overdue(2) // was sent on the first
		b.send(t, 3)
		if len(b.streams) != 2 {
			t.Errorf("%d streams", len(b.streams))
		}
		b.streams[0].answer(2, 20) // late answers count
		b.streams[1].answer(1, 10)
		b.want(t, taken{"b", again, 10, ""}, taken{"c", first, 20, ""})

		b.Overdue(3)
		synctest.Wait()
		if b.streams[0].ctx.Err() == nil || b.streams[1].ctx.Err() != nil {
			t.Error("want the first stream ended, and the second kept")
		}
		b.send(t, 4)
		if len(b.streams) != 3 {
			t.Errorf("%d streams", len(b.streams))
		}
	})
}

func TestBroken(t *testing.T) {
	t.Run("all on their way fail", func(t *testing.T) {
		onBench(t, true, func(t *testing.T, b *bench) {
			now := b.send(t, 1, 2)
			b.streams[0].answer(1, 10)
			close(b.streams[0].failed)
			b.want(t, taken{"b", now, 10, ""}, taken{"c", now, 0, broke})
			time.Sleep(time.Second)
			b.send(t, 2)
			if len(b.streams) != 2 || b.streams[0].ctx.Err() == nil {
				t.Errorf("%d streams", len(b.streams))
			}
		})
	})
	t.Run("the former", func(t *testing.T) {
		onBench(t, true, func(t *testing.T, b *bench) {
			now := b.send(t, 1)
			b.Overdue(1)
			b.send(t, 2)
			close(b.streams[0].failed)
			b.want(t, taken{"b", now, 0, broke})
			b.send(t, 3)
			if len(b.streams) != 2 {
				t.Errorf("%d streams", len(b.streams))
			}
		})
	})
	t.Run("refused", func(t *testing.T) {
		onBench(t, true, func(t *testing.T, b *bench) {
			b.refuse = errBroken
			tries, began := 0, time.Now()
			for time.Since(began) < 10*time.Second {
				now := clock.Read()
				again, ok := b.Send([]renewal.Request[string]{request(1)}, now)
				if ok {
					tries++
					b.want(t, taken{"b", now, 0, broke})
					continue
				}
				time.Sleep(again.Until(now))
			}
			if tries < 10 || tries > 20 || len(b.refused) != tries {
				t.Errorf("%d tries in ten seconds", tries)
			}
			for _, ctx := range b.refused {
				if ctx.Err() == nil {
					t.Error("the context of a refused stream does not end")
				}
			}
			b.refuse = nil
			time.Sleep(time.Second)
			b.send(t, 1)
			b.streams[0].answer(1, 10)
			b.take(t)
			close(b.streams[0].failed) // after an answer another may be opened at once
			b.take(t)
			time.Sleep(50 * time.Millisecond)
			b.send(t, 1)
		})
	})
	t.Run("a stream that takes nothing", func(t *testing.T) {
		onBench(t, true, func(t *testing.T, b *bench) {
			for range 300 { // more than any buffer holds
				b.send(t, 1)
			}
		})
	})
}

func TestCalls(t *testing.T) {
	onBench(t, false, func(t *testing.T, b *bench) {
		b.once = func(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseKeepAliveResponse, error) {
			switch id {
			case 1:
				return &clientv3.LeaseKeepAliveResponse{TTL: 10}, nil
			case 2:
				return nil, errBroken
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		now := b.send(t, 1, 2, 3)
		b.want(t, taken{"b", now, 10, ""}, taken{"c", now, 0, errBroken.Error()})
		time.Sleep(3 * time.Second)
		b.want(t, taken{"d", now, 0, context.DeadlineExceeded.Error()})
	})
}
