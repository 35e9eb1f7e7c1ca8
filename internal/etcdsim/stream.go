package etcdsim

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// A stream is the client's end of a bidirectional stream. Messages arrive in order, each after its time on the way.
type stream struct {
	c      *Client
	ctx    context.Context
	method string
	token  string
	server streamServer
	up     queue
	down   queue

	mu     sync.Mutex
	silent bool          // nothing passes any more, and nobody is told
	err    error         // why it is broken
	broken chan struct{} // closed with err
}

// A streamServer is etcd's end of a stream. Only pump calls it.
type streamServer interface {
	receive(msg any)
	closeSend()
	close()
}

func newStream(c *Client, ctx context.Context, method, token string) *stream {
	return &stream{
		c: c, ctx: ctx, method: method, token: token,
		up: newQueue(), down: newQueue(),
		broken: make(chan struct{}),
	}
}

// pump is the server's loop. It ends with the stream.
func (st *stream) pump() {
	defer st.c.untrack(st)
	defer st.server.close()
	if requiresLeader(st.ctx) {
		if err := st.c.sim.awaitLeader(st.ctx, nil); err != nil {
			st.fail(err)
			return
		}
	}
	for {
		msg, err := st.next(&st.up)
		switch {
		case err == io.EOF:
			st.server.closeSend()
		case err != nil:
			return
		default:
			st.server.receive(msg)
		}
	}
}

// next takes a message from q, once it has arrived.
func (st *stream) next(q *queue) (any, error) {
	left, ok := q.head()
	for ; !ok; left, ok = q.head() {
		if err := await(st, q.more); err != nil {
			return nil, err
		}
	}
	if left > 0 {
		timer := time.NewTimer(left)
		defer timer.Stop()
		if err := await(st, timer.C); err != nil {
			return nil, err
		}
	}
	if err := await(st, st.c.gate()); err != nil {
		return nil, err
	}
	return q.take()
}

// await waits for ch. It fails when the stream ends.
func await[T any](st *stream, ch <-chan T) error {
	select {
	case <-ch:
	case <-st.broken:
	case <-st.ctx.Done():
	case <-st.c.Ctx().Done():
	}
	select {
	case <-st.broken:
		return st.err
	default:
		return st.c.ended(st.ctx)
	}
}

// fate decides on a message and reports whether it passes, and how long that takes.
func (st *stream) fate(call Call) (Fate, bool) {
	call.Client, call.Method = st.c.name, st.method
	f := st.c.fate(call)
	switch {
	case f.Refuse != nil:
		st.fail(f.Refuse)
		return f, false
	case f.Lose == Nothing:
		return f, !st.mute(false)
	}
	if f.Hang {
		st.mute(true)
	} else {
		st.fail(errDisconnected)
	}
	return f, false
}

// mute makes the stream silent if silent is set, and reports whether it is.
func (st *stream) mute(silent bool) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.silent = st.silent || silent
	return st.silent
}

// send is for the server.
func (st *stream) send(msg proto.Message) {
	if f, ok := st.fate(Call{Answer: msg}); ok {
		st.down.push(msg, nil, f.Reply)
	}
}

// finish ends the stream after all that was sent.
func (st *stream) finish() { st.down.push(nil, io.EOF, 0) }

// fail breaks the stream. What is on its way is lost.
func (st *stream) fail(err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.err == nil {
		st.err = err
		close(st.broken)
	}
}

// SendMsg sends a message, which may be lost.
func (st *stream) SendMsg(m any) error {
	if err := st.c.ended(st.ctx); err != nil {
		return err
	}
	select {
	case <-st.broken:
		return io.EOF // RecvMsg tells why
	default:
	}
	msg := m.(proto.Message)
	if f, ok := st.fate(Call{Request: msg}); ok {
		st.up.push(msg, nil, f.Send)
	}
	return nil
}

// RecvMsg waits for the next message.
func (st *stream) RecvMsg(m any) error {
	msg, err := st.next(&st.down)
	if err != nil {
		if err != io.EOF {
			if ended := st.c.sleep(st.ctx, minFailure); ended != nil {
				return ended
			}
		}
		return err
	}
	proto.Merge(m.(proto.Message), msg.(proto.Message)) // a copy: what is stored must not be shared
	return nil
}

// CloseSend tells the server that nothing more comes.
func (st *stream) CloseSend() error {
	st.up.push(nil, io.EOF, 0)
	return nil
}

// Context is the context that the stream was opened with.
func (st *stream) Context() context.Context { return st.ctx }

// Header is empty.
func (st *stream) Header() (metadata.MD, error) { return nil, nil }

// Trailer is empty.
func (st *stream) Trailer() metadata.MD { return nil }

// A queue holds messages on their way. One goroutine takes them.
type queue struct {
	mu    sync.Mutex
	items []queued
	last  time.Time     // when the newest arrives
	more  chan struct{} // has an element after a push
}

type queued struct {
	msg     proto.Message
	err     error // in place of msg
	arrival time.Time
}

func newQueue() queue { return queue{more: make(chan struct{}, 1)} }

func (q *queue) push(msg proto.Message, err error, delay time.Duration) {
	q.mu.Lock()
	if at := time.Now().Add(delay); at.After(q.last) {
		q.last = at
	}
	q.items = append(q.items, queued{msg, err, q.last})
	q.mu.Unlock()
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// head returns how long the next message is still on its way, and whether there is one.
func (q *queue) head() (left time.Duration, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return 0, false
	}
	return time.Until(q.items[0].arrival), true
}

func (q *queue) take() (any, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.items[0]
	q.items = slices.Delete(q.items, 0, 1)
	return it.msg, it.err
}
