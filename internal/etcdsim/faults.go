package etcdsim

import (
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// A Call is a unary call, or one message of a stream.
type Call struct {
	Client  string        // the name given to NewClient
	Method  string        // as in etcd's protobufs: "Range", "Txn", "LeaseGrant", "Watch", "LeaseKeepAlive" and so on
	Request proto.Message // nil for a message from etcd in a stream
	Answer  proto.Message // that message; not known before a unary call
}

func (c Call) unary() bool { return c.Method != "Watch" && c.Method != "LeaseKeepAlive" }

// A Fate is what becomes of a Call. The zero Fate is a call that arrives at once. In a stream, Send is for a request and
// Reply for an answer, and if either is lost so is the stream.
type Fate struct {
	Send, Reply time.Duration // how long the request and the answer travel
	Lose        Loss
	Hang        bool          // the caller hears nothing of a loss; otherwise it gets the error Unavailable
	Late        time.Duration // if a Request is lost and this is not 0, it is carried out after all, after that time

	// Refuse is the answer, at once, of etcd or of a proxy before it, such as rpctypes.ErrGRPCTooManyRequests. It breaks a
	// stream. If Carried is set, a unary call is carried out all the same.
	Refuse  error
	Carried bool
}

// A Loss is what is lost of a call.
type Loss int

// What may be lost.
const (
	Nothing Loss = iota
	Request      // before etcd sees it
	Answer       // after etcd has carried it out
)

// A Plan decides on calls. It may be called from several goroutines, with a source of chance of the call's own: it comes of
// the seed, the client, the call and the time, as calls at one moment come in any order. It must not call the Sim, and must
// not wait.
type Plan func(call Call, rng *rand.Rand) Fate

// Faults are random fates. The probabilities are between 0 and 1, for each call and each message of a stream.
type Faults struct {
	MinDelay, MaxDelay time.Duration // on each way
	LoseRequest        float64
	LoseAnswer         float64
	Late               float64       // of the lost requests of unary calls, those that are carried out late
	MaxLate            time.Duration // how late at most
	Hang               float64       // of all losses, those that nobody is told of
	Refuse             float64       // unary calls that etcd refuses for one of Refusals
	Refusals           []error
	Carried            float64 // of those refused as Unavailable, which may mean anything, those that are carried out
}

// Plan returns the plan that f describes.
func (f Faults) Plan() Plan {
	return func(call Call, rng *rand.Rand) Fate {
		fate := Fate{Send: f.delay(rng), Reply: f.delay(rng)}
		switch p := rng.Float64(); {
		case p < f.LoseRequest:
			fate.Lose = Request
		case p < f.LoseRequest+f.LoseAnswer:
			fate.Lose = Answer
		}
		fate.Hang = rng.Float64() < f.Hang
		if late := rng.Float64() < f.Late; late && f.MaxLate > 0 {
			fate.Late = 1 + time.Duration(rng.Int64N(int64(f.MaxLate)))
		}
		if f.Refuse > 0 && call.unary() && rng.Float64() < f.Refuse {
			fate.Refuse = f.Refusals[rng.IntN(len(f.Refusals))]
			fate.Carried = status.Code(fate.Refuse) == codes.Unavailable && rng.Float64() < f.Carried
		}
		return fate
	}
}

func (f Faults) delay(rng *rand.Rand) time.Duration {
	if f.MaxDelay <= f.MinDelay {
		return f.MinDelay
	}
	return f.MinDelay + time.Duration(rng.Int64N(int64(f.MaxDelay-f.MinDelay)))
}

// SetPlan has p decide on the calls of all clients without a plan of their own. Nil is a network without faults.
func (s *Sim) SetPlan(p Plan) {
	s.clientsMu.Lock()
	defer s.clientsMu.Unlock()
	s.plan = p
}

// SetPlan has p decide on the client's calls. Nil is the Sim's plan.
func (c *Client) SetPlan(p Plan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plan = p
}

func (c *Client) fate(call Call) Fate {
	c.sim.clientsMu.Lock()
	plan := c.sim.plan
	c.sim.clientsMu.Unlock()
	c.mu.Lock()
	if c.plan != nil {
		plan = c.plan
	}
	c.mu.Unlock()
	if plan == nil {
		return Fate{}
	}
	return plan(call, c.chance(call))
}

// chance is alike for all messages that a client's streams send at one moment, in each direction: their order does not matter
// then. Unary calls differ by what they are about.
func (c *Client) chance(call Call) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, c.name, "/", call.Method, "/", call.Answer == nil, "/")
	hashKeys(h, call.Request)
	return rand.New(rand.NewPCG(c.sim.seed^h.Sum64(), uint64(time.Now().UnixNano())))
}

// hashKeys hashes what a request is about. What a transaction puts may depend on the scheduler, as numbers given in order do.
func hashKeys(h io.Writer, m proto.Message) {
	switch r := m.(type) {
	case nil, *pb.WatchRequest, *pb.LeaseKeepAliveRequest:
	case *pb.PutRequest:
		h.Write(r.Key)
	case *pb.TxnRequest:
		for _, c := range r.Compare {
			h.Write(c.Key)
		}
		for _, op := range slices.Concat(r.Success, r.Failure) {
			switch op := op.Request.(type) {
			case *pb.RequestOp_RequestPut:
				hashKeys(h, op.RequestPut)
			case *pb.RequestOp_RequestTxn:
				hashKeys(h, op.RequestTxn)
			}
		}
	default:
		b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		h.Write(b)
	}
}

// Partition cuts the client off: its calls hang and its streams are silent until Heal. Then what was sent goes on, except
// for calls whose context has ended.
func (c *Client) Partition() { c.hold(func() { c.cut = true }) }

// Heal ends a Partition.
func (c *Client) Heal() { c.hold(func() { c.cut = false }) }

// Pause holds back for d all that the client sends and receives. It does not stop the process's own clock.
func (c *Client) Pause(d time.Duration) {
	c.hold(func() { c.pauses++ })
	time.AfterFunc(d, func() { c.hold(func() { c.pauses-- }) })
}

// BreakStreams breaks the client's streams: etcd's client gets the error Unavailable, and opens new ones.
func (c *Client) BreakStreams() {
	c.breakStreams(func(*stream) bool { return true })
}

func (c *Client) breakStreams(which func(*stream) bool) {
	for _, st := range c.openStreams() {
		if which(st) {
			st.fail(errDisconnected)
		}
	}
}

// hold changes what holds messages back.
func (c *Client) hold(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.cut || c.pauses > 0
	change()
	switch after := c.cut || c.pauses > 0; {
	case after && !before:
		c.open = make(chan struct{})
	case before && !after:
		close(c.open)
	}
}

// gate is closed when messages pass.
func (c *Client) gate() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

func (c *Client) passes() bool {
	select {
	case <-c.gate():
		return true
	default:
		return false
	}
}

func (c *Client) track(st *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams = append(c.streams, st)
}

func (c *Client) untrack(st *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams = slices.DeleteFunc(c.streams, func(x *stream) bool { return x == st })
}

func (c *Client) openStreams() []*stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.streams)
}
