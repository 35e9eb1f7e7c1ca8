package batch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/xctx"
	"github.com/phpgao/elock/keyspace"
)

// A sent is a transaction that reached the server.
type sent struct {
	cmps, ops int
	nested    int      // how many ops are transactions
	values    []string // what is put, in order, also in nested ones
}

// A server answers transactions: each takes its latency. Comparisons hold unless they are about "no".
type server struct {
	*Batcher
	latency time.Duration
	twice   bool
	fault   func(ctx context.Context, n int, s sent) error // of the n-th transaction, from 0

	mu     sync.Mutex
	log    []sent
	now    int // on their way
	most   int // at once
	silent int
	limits *xctx.Limiter
	close  context.CancelFunc
}

func newServer(t *testing.T, alone bool) *server {
	s := &server{latency: time.Millisecond}
	ctx, cancel := context.WithCancel(context.Background())
	s.limits, s.close = xctx.NewLimiter(ctx), cancel
	t.Cleanup(cancel)
	s.Batcher = New(Config{
		Txn:    s.txn,
		Limits: s.limits,
		Silent: func() { s.silent++ },
		Spawn:  func(f func()) bool { go f(); return true },
		Alone:  alone,
	})
	return s
}

func (s *server) txn(ctx context.Context, cmps []clientv3.Cmp, then, els []clientv3.Op) (*clientv3.TxnResponse, bool, error) {
	it := sent{cmps: len(cmps), ops: len(then)}
	resp := &clientv3.TxnResponse{Header: &pb.ResponseHeader{Revision: 7}, Succeeded: holds(cmps)}
	for _, op := range then {
		if !op.IsTxn() {
			it.values = append(it.values, string(op.ValueBytes()))
			resp.Responses = append(resp.Responses, put(op))
			continue
		}
		it.nested++
		cmps, then, _ := op.Txn()
		own := &pb.TxnResponse{Succeeded: holds(cmps)}
		for _, op := range then {
			it.values = append(it.values, string(op.ValueBytes()))
			if own.Succeeded {
				own.Responses = append(own.Responses, put(op))
			}
		}
		resp.Responses = append(resp.Responses, &pb.ResponseOp{Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: own}})
	}
	if !resp.Succeeded {
		resp.Responses = nil
	}
	s.mu.Lock()
	n := len(s.log)
	s.log = append(s.log, it)
	s.now++
	s.most = max(s.most, s.now)
	fault, latency := s.fault, s.latency
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
	}()
	if fault != nil {
		if err := fault(ctx, n, it); err != nil {
			return nil, s.twice, err
		}
	}
	select {
	case <-time.After(latency):
		return resp, s.twice, nil
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}

func holds(cmps []clientv3.Cmp) bool {
	return !slices.ContainsFunc(cmps, func(c clientv3.Cmp) bool { return string(c.KeyBytes()) == "no" })
}

// put answers with what is put, as the previous value.
func put(op clientv3.Op) *pb.ResponseOp {
	return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: &pb.RangeResponse{Count: int64(len(op.ValueBytes())), Kvs: nil}}}
}

func (s *server) sent() []sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

var space = keyspace.MustNew[int]("n")

// write is a transaction that expects to succeed and puts its number.
func write(i int) Txn {
	return Txn{
		Key:           space.Key(i),
		If:            []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision("yes"), "=", 0)},
		Then:          []clientv3.Op{clientv3.OpPut(fmt.Sprint(i), strings.Repeat("x", i))},
		ExpectSuccess: true,
	}
}

// unlikely is write, not expected to succeed.
func unlikely(i int) Txn {
	t := write(i)
	t.ExpectSuccess = false
	return t
}

// failing is write whose comparison does not hold.
func failing(i int) Txn {
	t := write(i)
	t.If = []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision("no"), "=", 0)}
	return t
}

// An outcome is what Commit returned.
type outcome struct {
	Result
	err error
}

// occupy has two transactions on their way.
func (s *server) occupy(wait *sync.WaitGroup) {
	for i := range maxBatches {
		wait.Go(func() { _, _ = s.Commit(context.Background(), write(1000+i)) })
	}
	synctest.Wait()
}

// during commits txns at once, one after the other in the queue, while two others are on their way.
func (s *server) during(ctx context.Context, txns ...Txn) []outcome {
	out := make([]outcome, len(txns))
	var wait sync.WaitGroup
	s.occupy(&wait)
	for i, t := range txns {
		wait.Go(func() { out[i].Result, out[i].err = s.Commit(ctx, t) })
		synctest.Wait()
	}
	wait.Wait()
	return out
}

func wantSucceeded(t *testing.T, out []outcome, want ...int) {
	t.Helper()
	for i, o := range out {
		switch {
		case o.err != nil:
			t.Errorf("%d: %v", i, o.err)
		case o.Succeeded != !slices.Contains(want, -i-1):
			t.Errorf("%d: succeeded %v", i, o.Succeeded)
		}
	}
}
