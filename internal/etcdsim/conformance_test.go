package etcdsim_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/etcdtest"
)

// The model and a real etcd get the same requests, and must give the same answers, errors and events. Revisions are
// compared as they are: the real etcd is this test's own, and each sequence has a model that starts where it stands.
// -rapid.checks=N tries more sequences than the default of 100.
func TestTheModelAnswersAsEtcdDoes(t *testing.T) {
	real := etcdtest.StartOwn(t).Client(t)
	var compacted int64 = -1
	sequence := 0
	rapid.Check(t, func(rt *rapid.T) {
		sequence++
		p := newPair(rt, real.ActiveConnection(), fmt.Sprintf("%08d/", sequence), compacted)
		defer func() { compacted = p.g.compacted }()
		defer p.close()
		p.grant()
		p.grant()
		for range 1 + p.g.below(60, "length") {
			p.step()
		}
		p.compareWatches()
	})
}

// A pair is the real etcd, which comes first, and its model.
type pair struct {
	t     *rapid.T
	g     *generator
	sim   *etcdsim.Sim
	sides [2]side
	next  int64 // number of the next lease
	real  pb.MaintenanceClient
	alarm [3]bool // those that are raised

	farthest int64 // the last revision that a watch begins with
}

type side struct {
	kv      pb.KVClient
	lease   pb.LeaseClient
	watches *watchLog
}

var sideNames = [2]string{"etcd", "model"}

func newPair(t *rapid.T, real grpc.ClientConnInterface, prefix string, compacted int64) *pair {
	start, err := pb.NewKVClient(real).Range(context.Background(), &pb.RangeRequest{Key: []byte(prefix)})
	if err != nil {
		t.Fatal(err)
	}
	rev := start.Header.Revision
	p := &pair{t: t, sim: etcdsim.NewAt(rev, compacted), real: pb.NewMaintenanceClient(real)}
	p.g = &generator{T: t, prefix: prefix, start: rev, rev: rev, compacted: compacted}
	for i, conn := range []grpc.ClientConnInterface{real, p.sim.NewClient("model").Conn()} {
		p.sides[i] = side{
			kv:      pb.NewKVClient(conn),
			lease:   pb.NewLeaseClient(conn),
			watches: newWatchLog(t, conn),
		}
	}
	p.watch(&pb.WatchCreateRequest{Key: []byte(prefix + "~")}) // for barriers
	return p
}

func (p *pair) close() {
	p.clearAlarms()
	for _, s := range p.sides {
		s.watches.close()
	}
	p.sim.Close()
	s := p.sides[0]
	if _, err := s.kv.DeleteRange(context.Background(), &pb.DeleteRangeRequest{Key: []byte(p.g.prefix), RangeEnd: []byte{0}}); err != nil {
		p.t.Fatal(err)
	}
	for _, id := range p.g.leases {
		s.lease.LeaseRevoke(context.Background(), &pb.LeaseRevokeRequest{ID: id}) // it may be revoked already
	}
}

func (p *pair) step() {
	if p.g.oneIn(30, "alarm") {
		alarm := 1 + p.g.below(2, "which")
		p.setAlarm(pb.AlarmType(alarm), !p.alarm[alarm])
		return
	}
	switch kind := p.g.below(100, "step"); {
	case kind < 20:
		r := p.g.put()
		p.both(r, func(ctx context.Context, s side) (proto.Message, error) { return s.kv.Put(ctx, r) })
	case kind < 36:
		r := p.g.get()
		p.both(r, func(ctx context.Context, s side) (proto.Message, error) { return s.kv.Range(ctx, r) })
	case kind < 43:
		r := p.g.del()
		p.both(r, func(ctx context.Context, s side) (proto.Message, error) { return s.kv.DeleteRange(ctx, r) })
	case kind < 75:
		r := p.g.txn()
		p.both(r, func(ctx context.Context, s side) (proto.Message, error) { return s.kv.Txn(ctx, r) })
	case kind < 80:
		p.grant()
	case kind < 84:
		r := &pb.LeaseRevokeRequest{ID: p.g.lease()}
		p.both(r, func(ctx context.Context, s side) (proto.Message, error) { return s.lease.LeaseRevoke(ctx, r) })
	case kind < 86:
		r := &pb.LeaseKeepAliveRequest{ID: p.g.lease()}
		p.both(r, func(ctx context.Context, s side) (proto.Message, error) { return keepAlive(ctx, s.lease, r) })
	case kind < 88:
		r := &pb.LeaseTimeToLiveRequest{ID: p.g.lease(), Keys: p.g.oneIn(2, "keys")}
		p.both(r, func(ctx context.Context, s side) (proto.Message, error) { return s.lease.LeaseTimeToLive(ctx, r) })
	case kind < 89:
		r := &pb.LeaseLeasesRequest{}
		p.both(r, func(ctx context.Context, s side) (proto.Message, error) { return s.lease.LeaseLeases(ctx, r) })
	case kind < 92:
		r := &pb.CompactionRequest{Revision: p.g.near(), Physical: true}
		_, err := p.both(r, func(ctx context.Context, s side) (proto.Message, error) { return s.kv.Compact(ctx, r) })
		if err == nil {
			p.g.compacted = r.Revision
			w := p.g.watch()
			w.StartRevision = r.Revision // the first that is left
			p.watch(w)
		}
	case kind < 98:
		p.watch(p.g.watch())
	default:
		p.cancelWatch(1 + int64(p.g.below(5, "watch")))
	}
}

func (p *pair) setAlarm(alarm pb.AlarmType, on bool) {
	action := pb.AlarmRequest_DEACTIVATE
	if on {
		action = pb.AlarmRequest_ACTIVATE
	}
	if _, err := p.real.Alarm(context.Background(), &pb.AlarmRequest{Action: action, MemberID: 1, Alarm: alarm}); err != nil {
		p.t.Fatal(err)
	}
	p.sim.SetAlarm(alarm, on)
	p.alarm[alarm] = on
}

func (p *pair) clearAlarms() {
	for alarm, on := range p.alarm {
		if on {
			p.setAlarm(pb.AlarmType(alarm), false)
		}
	}
}

// grant asks for a lease with an id that both sides are told. Short ones could end before the sequence does.
func (p *pair) grant() {
	ttl := pick(p.g, []int64{-1, 0, 60, 300, 600, 3600, 9_000_000_000, 9_000_000_001}, "ttl")
	r := &pb.LeaseGrantRequest{ID: p.g.rev<<20 + p.next, TTL: ttl}
	p.next++
	if n := len(p.g.leases); n > 0 && p.g.oneIn(5, "again") {
		r.ID = p.g.leases[n-1]
	}
	_, err := p.both(r, func(ctx context.Context, s side) (proto.Message, error) { return s.lease.LeaseGrant(ctx, r) })
	switch {
	case err != nil:
	case ttl < 60:
		r := &pb.LeaseRevokeRequest{ID: r.ID}
		p.both(r, func(ctx context.Context, s side) (proto.Message, error) { return s.lease.LeaseRevoke(ctx, r) })
	default:
		p.g.leases = append(p.g.leases, r.ID)
	}
}

func keepAlive(ctx context.Context, c pb.LeaseClient, r *pb.LeaseKeepAliveRequest) (*pb.LeaseKeepAliveResponse, error) {
	stream, err := c.LeaseKeepAlive(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(r); err != nil {
		return nil, err
	}
	resp, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("after the end: %w", err)
	}
	return resp, nil
}

// both makes a request on both sides, compares the answers, and returns the common one.
func (p *pair) both(r proto.Message, do func(context.Context, side) (proto.Message, error)) (proto.Message, error) {
	var (
		resp [2]proto.Message
		errs [2]error
	)
	for i, s := range p.sides {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		resp[i], errs[i] = do(ctx, s)
		cancel()
		if errs[i] == nil {
			normalize(resp[i])
		} else {
			resp[i] = nil
		}
	}
	if a, b := status.Convert(errs[0]), status.Convert(errs[1]); a.Code() != b.Code() || a.Message() != b.Message() {
		p.t.Fatalf("%T %v\netcd:  %v\nmodel: %v", r, text(r), errs[0], errs[1])
	}
	if errs[0] == nil && !proto.Equal(resp[0], resp[1]) {
		p.t.Fatalf("%T %v\netcd:  %v\nmodel: %v", r, text(r), text(resp[0]), text(resp[1]))
	}
	if h, ok := resp[0].(interface{ GetHeader() *pb.ResponseHeader }); ok {
		p.g.rev = max(p.g.rev, h.GetHeader().GetRevision())
	}
	return resp[0], errs[0]
}

// normalize takes away what differs between two clusters: their ids, and how long a call took.
func normalize(m proto.Message) {
	if h, ok := m.(interface{ GetHeader() *pb.ResponseHeader }); ok && h.GetHeader() != nil {
		h := h.GetHeader()
		if h.ClusterId != 0 && h.MemberId != 0 && h.RaftTerm != 0 {
			h.ClusterId, h.MemberId, h.RaftTerm = 1, 1, 1
		}
	}
	if ttl, ok := m.(*pb.LeaseTimeToLiveResponse); ok {
		slices.SortFunc(ttl.Keys, slices.Compare)
		if ttl.TTL > 0 && ttl.TTL >= ttl.GrantedTTL-30 {
			ttl.TTL = ttl.GrantedTTL
		}
	}
}

func text(m proto.Message) string {
	return prototext.MarshalOptions{Multiline: false}.Format(m)
}
