package record

import (
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// queue returns entries: s shares, x holds alone, r may be retained, e is evicted, f is foreign, n has no lease.
func queue(kinds string) []*mvccpb.KeyValue {
	var all []*mvccpb.KeyValue
	for i, kind := range kinds {
		r := Record{Version: Version, Mode: Exclusive, Retained: kind == 'r', Evicted: kind == 'e'}
		if kind == 's' || kind == 'n' {
			r.Mode = Shared
		}
		kv := &mvccpb.KeyValue{CreateRevision: int64(i + 1), Lease: 7, Value: r.Encode()}
		switch kind {
		case 'f':
			kv.Value = nil
		case 'n':
			kv.Lease = 0
		}
		all = append(all, kv)
	}
	return all
}

func TestThoseWhoShareHoldTogetherAndOthersAlone(t *testing.T) {
	for kinds, want := range map[string]int{"": 0, "x": 1, "xx": 1, "xs": 1, "s": 1, "ss": 2, "ssxs": 2, "fs": 1, "sf": 1, "r": 1, "e": 1} {
		if got := Holding(queue(kinds)); got != want {
			t.Errorf("of %q %d hold, want %d", kinds, got, want)
		}
	}
}

func TestAKeyWithoutALeaseIsNoEntry(t *testing.T) {
	left := Entries(queue("nxns"))
	if len(left) != 2 || left[0].CreateRevision != 2 || left[1].CreateRevision != 4 {
		t.Errorf("entries %v, want those of revisions 2 and 4", left)
	}
}

func TestWhatAnEntrySays(t *testing.T) {
	for i, kv := range queue("sxref") {
		if got, want := Alone(kv), "sxref"[i] != 's'; got != want {
			t.Errorf("%c holds alone: %v", "sxref"[i], got)
		}
		if got, want := Retained(kv), "sxref"[i] == 'r'; got != want {
			t.Errorf("%c is retained: %v", "sxref"[i], got)
		}
		if got, want := Evicted(kv), "sxref"[i] == 'e'; got != want {
			t.Errorf("%c is evicted: %v", "sxref"[i], got)
		}
	}
}

func TestARecordIsReadAgain(t *testing.T) {
	for _, want := range []Record{
		{Version: Version, Owner: "host:1", Mode: Shared, Nonce: 3},
		{Version: Version, Owner: "a\"b", Mode: Exclusive, Evicted: true, Annotations: map[string]string{"k": "v"}},
	} {
		got, ok := Parse(want.Encode())
		if !ok || got.Owner != want.Owner || got.Mode != want.Mode || got.Nonce != want.Nonce || got.Evicted != want.Evicted ||
			got.Annotations["k"] != want.Annotations["k"] {
			t.Errorf("got %+v, %v; want %+v", got, ok, want)
		}
	}
	for _, value := range []string{"", "text", `{"owner":"other"}`, `{"elock":0}`, `["elock"]`} {
		if _, ok := Parse([]byte(value)); ok {
			t.Errorf("%q counts as a record", value)
		}
	}
	if r, ok := Parse([]byte(`{"elock":2,"owner":"young","more":1}`)); !ok || r.Owner != "young" {
		t.Error("the record of a later version is not read")
	}
}
