package outcome

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/proctest"
	"github.com/phpgao/elock/internal/queue"
	"github.com/phpgao/elock/internal/record"
)

// send has the owner send a transaction that writes the value and deletes the entry, with these fates of its tries.
func (b *bed) send(before Answer, fates ...etcdsim.Fate) (*Txn, Answer) {
	b.t.Helper()
	b.fate = func(request string) (fate etcdsim.Fate) {
		if strings.Contains(request, "new") && len(fates) > 0 {
			fate, fates = fates[0], fates[1:]
		}
		return fate
	}
	t := &Txn{
		Batch: b.Batch, Entries: []*queue.Entry{b.e},
		Held: []clientv3.Cmp{record.Created(b.e.Name, b.e.Rev)},
		Cmps: []clientv3.Cmp{clientv3.Compare(clientv3.Value(value), "=", "old")},
		Ops:  []clientv3.Op{clientv3.OpPut(value, "new")},
		Exit: []clientv3.Op{clientv3.OpDelete(b.e.Name)},
	}
	ctx := b.Etcd.Detached(b.t.Context())
	ctx.Grace = 5 * time.Second
	defer ctx.Stop()
	return t, t.Persist(ctx, before)
}

func TestTheVerdictOnATransaction(t *testing.T) {
	refused := etcdsim.Fate{Refuse: rpctypes.ErrGRPCPermissionDenied}
	for _, c := range []struct {
		name   string
		before Answer
		harm   func(b *bed)
		fates  []etcdsim.Fate
		want   Verdict
		wrote  bool
	}{
		{name: "carried out", want: Applied, wrote: true},
		{name: "tried again", fates: []etcdsim.Fate{{Lose: etcdsim.Request}}, want: Applied, wrote: true},
		{name: "the entry is gone", harm: func(b *bed) { proctest.Must(b.Other.Delete(b.t.Context(), b.e.Name)) }, want: Lost},
		{name: "the entry is marked", harm: func(b *bed) {
			b.does(b.rewrite(func(r *record.Record) { r.Evicted = true }), clientv3.OpPut(value, "other"))
		}, want: Lost},
		{name: "another entry has its name", harm: func(b *bed) {
			proctest.Must(b.Other.Delete(b.t.Context(), b.e.Name))
			proctest.Must(b.Other.Put(b.t.Context(), b.e.Name, "hand"))
		}, want: Lost},
		{name: "carried out, without an answer", fates: []etcdsim.Fate{{Lose: etcdsim.Answer}}, want: Lost, wrote: true}, // by itself
		{name: "the value is another", harm: func(b *bed) { proctest.Must(b.Other.Put(b.t.Context(), value, "other")) }, want: ComparisonFailed},
		{name: "refused", fates: []etcdsim.Fate{refused}, want: Rejected},
		{name: "refused after a try without an answer", fates: []etcdsim.Fate{{Lose: etcdsim.Request}, refused}, want: InDoubt},
		{name: "refused after another one in doubt", before: Answer{InDoubt: true}, fates: []etcdsim.Fate{refused}, want: InDoubt},
	} {
		t.Run(c.name, func(t *testing.T) {
			in(t, false, func(t *testing.T, b *bed) {
				if c.harm != nil {
					c.harm(b)
				}
				txn, a := b.send(c.before, c.fates...)
				if got := txn.Verdict(a); got != c.want {
					t.Errorf("got verdict %d, want %d: %+v", got, c.want, a)
				}
				if c.want == ComparisonFailed && txn.Missing(a) >= 0 || c.want == Lost && txn.Missing(a) != 0 {
					t.Errorf("missing: %v", txn.Missing(a))
				}
				if c.want == Rejected && !errors.Is(a.Err, rpctypes.ErrPermissionDenied) {
					t.Errorf("got error %v", a.Err)
				}
				kvs := proctest.Must(b.Other.Get(t.Context(), value)).Kvs
				if wrote := string(kvs[0].Value) == "new"; wrote != c.wrote {
					t.Errorf("wrote: %v", wrote)
				}
			})
		})
	}
}

func TestATransactionIsInDoubtWhileEtcdIsSilent(t *testing.T) {
	in(t, false, func(t *testing.T, b *bed) {
		var fates []etcdsim.Fate
		for range 100 {
			fates = append(fates, etcdsim.Fate{Lose: etcdsim.Request, Hang: true})
		}
		txn, a := b.send(Answer{}, fates...)
		if txn.Verdict(a) != InDoubt || !a.InDoubt || a.Err == nil {
			t.Errorf("%+v", a)
		}
	})
}

func TestARecordIsRewrittenOnlyWhereAComparisonFails(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(b *bed)
		want bool
	}{
		"asked": {func(b *bed) {
			b.does(b.rewrite(func(r *record.Record) { r.Request = &record.Request{By: "ops"} }), clientv3.OpPut(value, "other"))
		}, true},
		"asked, and carried out": {func(b *bed) { b.does(b.rewrite(func(r *record.Record) { r.Request = &record.Request{By: "ops"} })) }, false},
		"told its turn":          {func(b *bed) { b.does(b.tellTurn(), clientv3.OpPut(value, "other")) }, true},
		"not asked":              {func(b *bed) { b.does(clientv3.OpPut(value, "other")) }, false},
		"gone":                   {func(b *bed) { proctest.Must(b.Other.Delete(b.t.Context(), b.e.Name)) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, false, func(t *testing.T, b *bed) {
				c.harm(b)
				txn, a := b.send(Answer{})
				if kv := txn.Rewritten(a); (kv != nil) != c.want {
					t.Errorf("rewritten: %v", kv)
				}
			})
		})
	}
}
