package locktest

import (
	"context"
	"errors"
	"slices"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A Txn is a transaction that a tapped client sends.
type Txn struct {
	If         []clientv3.Cmp
	Then, Else []clientv3.Op
}

// Puts reports whether t, or one nested in it, may put the key.
func (t Txn) Puts(name string) bool { return t.any(name, clientv3.Op.IsPut) }

// Deletes reports whether t, or one nested in it, may delete the key.
func (t Txn) Deletes(name string) bool { return t.any(name, clientv3.Op.IsDelete) }

func (t Txn) any(name string, kind func(clientv3.Op) bool) bool {
	return slices.ContainsFunc(slices.Concat(t.Then, t.Else), func(op clientv3.Op) bool {
		if op.IsTxn() {
			_, then, elses := op.Txn()
			return Txn{Then: then, Else: elses}.any(name, kind)
		}
		return kind(op) && string(op.KeyBytes()) == name
	})
}

// Writes reports whether t may write anything.
func (t Txn) Writes() bool {
	return slices.ContainsFunc(slices.Concat(t.Then, t.Else), func(op clientv3.Op) bool {
		return op.IsTxn() || op.IsPut() || op.IsDelete()
	})
}

type (
	// Answer is what a transaction is answered.
	Answer = *clientv3.TxnResponse
	// Send sends a transaction, as often as it is called.
	Send = func(ctx context.Context) (Answer, error)
)

// A Tap is around every read and every transaction of a client. Its functions may be nil.
type Tap struct {
	Around func(ctx context.Context, t Txn, send Send) (Answer, error) // sends a transaction, or not, and answers in its place
	Get    func(ctx context.Context) error                             // why a read fails; nil: it does not

	mu   sync.Mutex
	txns []Txn
	gets int
	ctxs []context.Context
}

// On returns a client like client, with f in its way.
func (f *Tap) On(client *clientv3.Client) *clientv3.Client {
	c := clientv3.NewCtxClient(client.Ctx())
	c.KV, c.Lease, c.Watcher = tappedKV{client.KV, f}, client.Lease, client.Watcher
	return c
}

// Sent returns the transactions and the number of reads since the last Reset.
func (f *Tap) Sent() (txns []Txn, gets int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.txns), f.gets
}

// Contexts returns those of all that was sent since the last Reset.
func (f *Tap) Contexts() []context.Context {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ctxs)
}

// Reset forgets what was sent.
func (f *Tap) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.txns, f.gets, f.ctxs = nil, 0, nil
}

type tappedKV struct {
	clientv3.KV
	f *Tap
}

func (kv tappedKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	kv.f.mu.Lock()
	kv.f.gets++
	kv.f.ctxs = append(kv.f.ctxs, ctx)
	kv.f.mu.Unlock()
	if kv.f.Get != nil {
		if err := kv.f.Get(ctx); err != nil {
			return nil, err
		}
	}
	return kv.KV.Get(ctx, key, opts...)
}

func (kv tappedKV) Txn(ctx context.Context) clientv3.Txn { return &tappedTxn{kv: kv, ctx: ctx} }

type tappedTxn struct {
	kv  tappedKV
	ctx context.Context
	txn Txn
}

func (t *tappedTxn) If(cmps ...clientv3.Cmp) clientv3.Txn { t.txn.If = cmps; return t }
func (t *tappedTxn) Then(ops ...clientv3.Op) clientv3.Txn { t.txn.Then = ops; return t }
func (t *tappedTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.txn.Else = ops; return t }

func (t *tappedTxn) Commit() (Answer, error) {
	f := t.kv.f
	f.mu.Lock()
	f.txns = append(f.txns, t.txn)
	f.ctxs = append(f.ctxs, t.ctx)
	f.mu.Unlock()
	send := func(ctx context.Context) (Answer, error) {
		return t.kv.KV.Txn(ctx).If(t.txn.If...).Then(t.txn.Then...).Else(t.txn.Else...).Commit()
	}
	if f.Around == nil {
		return send(t.ctx)
	}
	return f.Around(t.ctx, t.txn, send)
}

// ErrAnswer is what a caller sees when an answer is lost.
var ErrAnswer = errors.New("test: the answer is lost")

// Losses are the ways in which a transaction may have no answer.
var Losses = map[string]struct {
	CarriedOut bool
	Lose       func(ctx context.Context, send Send) (Answer, error)
}{
	"the answer, as an error": {true, func(ctx context.Context, send Send) (Answer, error) {
		_, _ = send(ctx)
		return nil, ErrAnswer
	}},
	"the answer, by silence": {true, func(ctx context.Context, send Send) (Answer, error) {
		_, _ = send(ctx)
		<-ctx.Done()
		return nil, ctx.Err()
	}},
	"the request, as an error": {false, func(context.Context, Send) (Answer, error) { return nil, ErrAnswer }},
	"the request, by silence": {false, func(ctx context.Context, _ Send) (Answer, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}},
}
