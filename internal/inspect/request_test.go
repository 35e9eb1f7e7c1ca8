package inspect

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdsim"
	"github.com/phpgao/elock/internal/proctest"
	"github.com/phpgao/elock/internal/record"
)

var someTime = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

var asking = record.Request{By: "ops", Reason: "reason"}

// requests are those in the queue, of which names has the entries.
func (b *bed) requests(names string) (all []*record.Request) {
	b.t.Helper()
	for _, kv := range b.wants(names) {
		all = append(all, record.Requested(kv))
		if kv.Lease != int64(b.lease) {
			b.t.Errorf("%s has lost its lease", kv.Key)
		}
	}
	return all
}

func (b *bed) asks(want bool, wantErr error) {
	b.t.Helper()
	asked, err := b.RequestRelease(b.t.Context(), key, asking)
	if asked != want || !errors.Is(err, wantErr) || (err == nil) != (wantErr == nil) {
		b.t.Errorf("asked: %v, %v; want %v, %v", asked, err, want, wantErr)
	}
}

func encoded(r record.Record) string {
	r.Version = record.Version
	return string(r.Encode())
}

func TestWhoHoldsIsAskedAndWhoWaitsIsNot(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.asks(false, nil)
		b.put("a", encoded(record.Record{Owner: "a", Mode: record.Shared, Retained: true, Annotations: map[string]string{"k": "v"}}), b.lease)
		b.put("b", encoded(record.Record{Owner: "b", Mode: record.Shared}), b.lease)
		b.put("c", text("c"), b.lease)
		b.asks(true, nil)
		r := b.requests("a b c")
		if r[0] == nil || *r[0] != asking || r[1] == nil || *r[1] != asking || r[2] != nil {
			t.Errorf("%v", r)
		}
		if a, _ := record.Parse(b.wants("a b c")[0].Value); a.Owner != "a" || !a.Retained || a.Annotations["k"] != "v" {
			t.Errorf("%+v", a)
		}
		before := b.wants("a b c")[0].ModRevision
		second := record.Request{By: "second"}
		if asked, err := b.RequestRelease(t.Context(), key, second); !asked || err != nil {
			t.Error(asked, err)
		}
		if b.wants("a b c")[0].ModRevision != before {
			t.Error("the second request is written")
		}
	})
}

func TestWhoDoesNotHoldAnyMoreOrIsForeignIsNotAsked(t *testing.T) {
	for name, c := range map[string]struct {
		value string
		want  error
	}{
		"foreign":    {"foreign", ErrForeign},
		"evicted":    {encoded(record.Record{Mode: record.Exclusive, Evicted: true}), nil},
		"only stays": {encoded(record.Record{Mode: record.Exclusive, Until: someTime}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				b.put("a", c.value, b.lease)
				b.asks(false, c.want)
				if kv := b.wants("a")[0]; string(kv.Value) != c.value || kv.Version != 1 {
					t.Errorf("it is %s", kv.Value)
				}
			})
		})
	}
}

// What becomes of the entry between the look and the request: it is asked as it is then, or whoever holds after it.
func TestARequestIsOfTheEntryAsItIs(t *testing.T) {
	for name, c := range map[string]struct {
		act   func(b *bed)
		names string
		asked []bool
	}{
		"announces": {func(b *bed) {
			r := record.Record{Version: record.Version, Owner: "a", Mode: record.Exclusive}
			r.Announce("text")
			proctest.Must(b.other.Put(b.t.Context(), dir+"a", string(r.Encode()), clientv3.WithIgnoreLease()))
		}, "a b", []bool{true, false}},
		"is gone":    {func(b *bed) { b.delete("a") }, "b", []bool{true}},
		"comes anew": {func(b *bed) { b.delete("a"); b.put("a", text("a"), b.lease) }, "b a", []bool{true, false}},
	} {
		for fate, f := range map[string]etcdsim.Fate{"": {}, " answer lost": {Lose: etcdsim.Answer}} {
			t.Run(name+fate, func(t *testing.T) {
				inBed(t, func(t *testing.T, b *bed) {
					b.put("a", text("a"), b.lease)
					b.put("b", text("b"), b.lease)
					first := true
					b.fate = func(request string) (fate etcdsim.Fate) {
						if strings.Contains(request, "reason") && first {
							first = false
							fate = f
							fate.Send = 100
							go c.act(b)
						}
						return fate
					}
					b.asks(true, nil)
					for i, r := range b.requests(c.names) {
						if (r != nil) != c.asked[i] {
							t.Errorf("entry %d has %v", i, r)
						}
					}
					if name == "announces" {
						if a, _ := record.Parse(b.wants(c.names)[0].Value); a.Announcement() != "text" {
							t.Errorf("%+v", a)
						}
					}
				})
			})
		}
	}
}

func TestARequestIsNoChangeOfTheQueue(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.announce("a", "text")
		f := b.follow(100)
		f.wants("a=text")
		b.asks(true, nil)
		f.wants("a=text")
		r := record.Record{Version: record.Version, Owner: "a", Mode: record.Exclusive, Request: &asking}
		r.Announce("news")
		b.put("a", string(r.Encode()), b.lease)
		f.wants("a=text", "a=news")
		f.cancel()
		f.ends(context.Canceled)
	})
}
