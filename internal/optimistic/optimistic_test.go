package optimistic

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/proctest"
	"github.com/phpgao/elock/internal/xctx"
	"github.com/phpgao/elock/keyspace"
)

var (
	key  = keyspace.MustParse("space/key")
	name = key.ValuePath("elock")
	next = clientv3.OpPut(name, "next")
)

// A bed is a process with a Table.
type bed struct {
	*proctest.Process
	t     *testing.T
	table *Table[int]
	lanes map[keyspace.Key]bool // that are taken
	sent  []string              // requests
	fate  func(request string) etcdsim.Fate
}

func in(t *testing.T, f func(t *testing.T, b *bed)) {
	t.Helper()
	b := &bed{t: t, lanes: make(map[keyspace.Key]bool), fate: func(string) (fate etcdsim.Fate) { return fate }}
	plan := func(call etcdsim.Call, _ *rand.Rand) etcdsim.Fate {
		b.sent = append(b.sent, fmt.Sprint(call.Request))
		return b.fate(b.sent[len(b.sent)-1])
	}
	proctest.Run(t, plan, func(t *testing.T, p *proctest.Process) {
		b.t, b.Process = t, p
		b.table = New(Config[int]{
			Etcd: p.Etcd, Batch: p.Batch, Limits: xctx.NewLimiter(p.Base), Ended: p.Base, Prefix: "elock",
			Admits: func(_ context.Context, _ keyspace.Key, opts []int) bool { return len(opts) == 0 },
			Seize:  func(k keyspace.Key) bool { free := !b.lanes[k]; b.lanes[k] = true; return free },
			Leave:  func(k keyspace.Key) { delete(b.lanes, k) },
		})
		f(t, b)
	})
}

// put has another process store a value, or queue.
func (b *bed) put(name, value string, opts ...clientv3.OpOption) {
	b.t.Helper()
	proctest.Must(b.Other.Put(b.t.Context(), name, value, opts...))
}

// enter has another process queue, and returns what ends that.
func (b *bed) enter() (leave func()) {
	b.t.Helper()
	l := proctest.Must(b.Other.Grant(b.t.Context(), 60))
	b.put(key.Path("elock")+"entry", "", clientv3.WithLease(l.ID))
	return func() { proctest.Must(b.Other.Revoke(b.t.Context(), l.ID)) }
}

func (b *bed) begin(k keyspace.Key) *Attempt[int] {
	b.t.Helper()
	a := b.table.Begin(b.t.Context(), k, nil)
	if a == nil {
		b.t.Fatal("no attempt")
	}
	return a
}

// write makes an attempt to store a value, and wants it to be what it was before and to have been read or known.
func (b *bed) write(value, from string, read bool) {
	b.t.Helper()
	a := b.begin(key)
	defer a.End()
	if !a.Load(b.t.Context()) {
		b.t.Fatal("not loaded")
	}
	kv, was := a.From()
	if got := string(kv.GetValue()); got != from || was != read {
		b.t.Errorf("the value is %q, read: %v; want %q, %v", got, was, from, read)
	}
	if out := a.Commit(b.t.Context(), clientv3.OpPut(name, value)); out != Done {
		b.t.Errorf("the commit of %q is %v", value, out)
	}
}

// stored wants a value to be stored; "" is none.
func (b *bed) stored(want string) {
	b.t.Helper()
	resp := proctest.Must(b.Other.Get(b.t.Context(), name))
	got := ""
	if len(resp.Kvs) > 0 {
		got = string(resp.Kvs[0].Value)
	}
	if got != want {
		b.t.Errorf("%q is stored, want %q", got, want)
	}
}

func TestAnAttemptHasTheLane(t *testing.T) {
	in(t, func(t *testing.T, b *bed) {
		a := b.begin(key)
		if b.table.Begin(t.Context(), key, nil) != nil {
			t.Error("two have the lane")
		}
		a.End()
		b.begin(key).End()
		if b.table.Begin(t.Context(), key, []int{1}) != nil || b.lanes[key] {
			t.Error("an attempt that is not admitted was made")
		}
		var none *Table[int]
		if none.Begin(t.Context(), key, nil) != nil {
			t.Error("an attempt of no table")
		}
	})
}

func TestAContextFindsItsTable(t *testing.T) {
	in(t, func(t *testing.T, b *bed) {
		if Of[int](With(t.Context(), b.table)) != b.table || Of[int](t.Context()) != nil || Of[string](With(t.Context(), b.table)) != nil {
			t.Error("another table is found")
		}
	})
}

func TestAContextIsUnderAnAttemptUntilThatEnds(t *testing.T) {
	in(t, func(t *testing.T, b *bed) {
		other := keyspace.MustParse("other")
		outer := b.begin(key)
		ctx, cancel := outer.Context(t.Context())
		defer cancel()
		inner := b.begin(other)
		both, cancel := inner.Context(ctx)
		defer cancel()
		under := func(ctx context.Context, k keyspace.Key, want bool) {
			t.Helper()
			if b.table.Under(ctx, k) != want {
				t.Errorf("under %v: %v", k, !want)
			}
		}
		under(t.Context(), key, false)
		under(ctx, key, true)
		under(ctx, other, false)
		under(both, other, true)
		under(both, key, true)
		inner.End()
		under(both, other, false)
		under(both, key, true)
		outer.End()
		under(both, key, false)
		if ctx.Err() != nil {
			t.Error("the context has ended")
		}
		b.End()
		<-ctx.Done()
	})
}

func TestWhatWasWrittenIsKnown(t *testing.T) {
	in(t, func(t *testing.T, b *bed) {
		b.put(name, "0")
		b.write("1", "0", true)
		b.write("2", "1", false)
		b.put(name, "3") // by another: the commit finds it, and the next attempt reads
		a := b.begin(key)
		a.Load(t.Context())
		if out := a.Commit(t.Context(), next); out != Changed {
			t.Errorf("the commit is %v", out)
		}
		if kv, read := a.From(); string(kv.GetValue()) != "3" || !read {
			t.Errorf("the value is %v, read: %v", kv, read)
		}
		if out := a.Commit(t.Context(), next); out != Done {
			t.Errorf("the commit is %v", out)
		}
		a.End()
		b.write("4", "next", true)
		b.write("5", "4", false)
		b.put(name, "6")
		a = b.begin(key)
		a.Load(t.Context())
		a.Commit(t.Context(), next)
		a.End()
		b.write("7", "6", true) // another wrote it meanwhile: it is not trusted yet
		b.write("8", "7", true)
		b.write("9", "8", false)
		resp := proctest.Must(b.Other.Get(t.Context(), name))
		a = b.begin(key)
		kv, _ := a.From()
		if is := resp.Kvs[0]; kv.CreateRevision != is.CreateRevision || kv.ModRevision != is.ModRevision || kv.Version != is.Version || string(kv.Key) != name {
			t.Errorf("known is %v, stored is %v", kv, is)
		}
		kv.Value[0] = 'x'
		a.End()
		b.write("10", "9", false)
		a = b.begin(key)
		if out := a.Commit(t.Context(), clientv3.OpDelete(name)); out != Done {
			t.Errorf("the deletion is %v", out)
		}
		a.End()
		b.stored("")
		a = b.begin(key)
		if a.Load(t.Context()) {
			t.Error("a value that is not there is changed without the lock")
		}
		a.End()
	})
}

func TestFewAndSmallValuesAreKnown(t *testing.T) {
	in(t, func(t *testing.T, b *bed) {
		b.put(name, "0")
		b.write(strings.Repeat("x", maxValue+1), "0", true)
		if kv, _ := b.begin(key).From(); kv != nil {
			t.Error("a large value is known")
		}
		for i := range 2 * maxKnown {
			b.table.known.note(keyspace.MustNew[int]("n").Key(i), memo{kv: &mvccpb.KeyValue{ModRevision: int64(i)}})
		}
		if n := len(b.table.known.of); n != maxKnown {
			t.Errorf("%d values are known", n)
		}
	})
}

func TestWhileOthersQueueNothingIsReadOrCommitted(t *testing.T) {
	in(t, func(t *testing.T, b *bed) {
		b.put(name, "0")
		leave := b.enter()
		a := b.begin(key)
		if a.Load(t.Context()) {
			t.Error("it was loaded")
		}
		leave()
		if !a.Load(t.Context()) {
			t.Error("it was not loaded")
		}
		leave = b.enter()
		if out := a.Commit(t.Context(), next); out != Taken {
			t.Errorf("the commit is %v", out)
		}
		b.stored("0")
		leave()
		b.put(key.Path("elock")+"stray", "") // a key without a lease is no entry
		if out := a.Commit(t.Context(), next); out != Done {
			t.Errorf("the commit is %v", out)
		}
		a.End()
		b.stored("next")
	})
}

func TestAnAnswerThatIsLost(t *testing.T) {
	for name, c := range map[string]struct {
		fate etcdsim.Fate // of the commit
		want Outcome
	}{
		"refused":                   {etcdsim.Fate{Refuse: rpctypes.ErrGRPCPermissionDenied}, Taken},
		"not answered, carried out": {etcdsim.Fate{Refuse: rpctypes.ErrGRPCTimeout, Carried: true}, InDoubt},
		"not answered and not so":   {etcdsim.Fate{Refuse: rpctypes.ErrGRPCTimeout}, Done}, // at the second try
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, b *bed) {
				b.put(key.ValuePath("elock"), "0")
				a := b.begin(key)
				a.Load(t.Context())
				fates := []etcdsim.Fate{c.fate}
				b.fate = func(string) (f etcdsim.Fate) {
					if len(fates) > 0 {
						f, fates = fates[0], fates[1:]
					}
					return f
				}
				if out := a.Commit(t.Context(), next); out != c.want {
					t.Errorf("the commit is %v, want %v", out, c.want)
				}
				a.End()
			})
		})
	}
}

// A value that is deleted has no revision by which a late commit would be refused.
func TestACommitThatComesLateChangesNoYoungerValue(t *testing.T) {
	in(t, func(t *testing.T, b *bed) {
		b.put(name, "0")
		a := b.begin(key)
		a.Load(t.Context())
		late := []etcdsim.Fate{{Lose: etcdsim.Request, Hang: true, Late: 10 * time.Second}}
		b.fate = func(string) (f etcdsim.Fate) {
			if len(late) > 0 {
				f, late = late[0], late[1:]
			}
			return f
		}
		if out := a.Commit(t.Context(), next); out != Done {
			t.Fatalf("the commit is %v", out)
		}
		a.End()
		proctest.Must(b.Other.Delete(t.Context(), name))
		time.Sleep(time.Minute)
		b.stored("")
	})
}
