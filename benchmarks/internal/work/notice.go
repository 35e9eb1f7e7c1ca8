package work

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// WriteAndNotice is the limit for a hot key: clients in a ring, each of which writes when it is noticed of the write of the
// one before. So every hand-over is one commit and one notice of a watch, and nothing else.
func WriteAndNotice(b *testing.B, s *Site, clients int) {
	r := &ring{began: time.Now(), stations: make([]station, clients)}
	for i := range r.stations {
		client := s.client(b)
		before := s.station((i + clients - 1) % clients)
		r.stations[i] = station{
			kv:     client.KV,
			path:   s.station(i),
			before: client.Watch(clientv3.WithRequireLeader(b.Context()), before, clientv3.WithCreatedNotify()),
		}
		created := <-r.stations[i].before
		if err := created.Err(); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	g, ctx := errgroup.WithContext(b.Context())
	for i := range r.stations {
		g.Go(func() error { return r.run(ctx, i, b.N) })
	}
	if err := r.send(ctx, 0); err != nil {
		b.Fatal(err)
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	var took histogram
	for i := range r.stations {
		took.merge(&r.stations[i].took)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "handovers/s")
	b.ReportMetric(float64(took.quantile(0.5)), "handover-p50-ns")
	b.ReportMetric(float64(took.quantile(0.99)), "handover-p99-ns")
}

type ring struct {
	began    time.Time
	sent     atomic.Int64 // when the last write began: nanoseconds since began
	stations []station
}

type station struct {
	kv     clientv3.KV
	path   string
	before clientv3.WatchChan // of the station before
	took   histogram
}

// run is one station's part of n hand-overs, the first of which goes out from station 0.
func (r *ring) run(ctx context.Context, i, n int) error {
	clients := len(r.stations)
	s := &r.stations[i]
	for handover := (i + clients - 1) % clients; handover < n; handover += clients {
		select {
		case resp := <-s.before:
			if len(resp.Events) == 0 {
				return errors.Join(errors.New("work: watch ended"), resp.Err())
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		s.took.add(time.Since(r.began) - time.Duration(r.sent.Load()))
		if handover+1 < n {
			if err := r.send(ctx, i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *ring) send(ctx context.Context, i int) error {
	r.sent.Store(int64(time.Since(r.began)))
	_, err := r.stations[i].kv.Put(ctx, r.stations[i].path, "value")
	return err
}

func (s *Site) station(i int) string { return fmt.Sprintf("/%s/ring/%d", s.prefix, i) }
