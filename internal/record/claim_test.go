package record

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

func slotsOf(n, weight int) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{Lease: 7, Value: Record{Version: Version, Mode: Slots, Slots: n, Weight: weight}.Encode()}
}

func alone() *mvccpb.KeyValue  { return queue("x")[0] }
func shared() *mvccpb.KeyValue { return queue("s")[0] }

func TestThoseHoldWhoFindSlots(t *testing.T) {
	for name, c := range map[string]struct {
		queue []*mvccpb.KeyValue
		want  int
	}{
		"one":                       {[]*mvccpb.KeyValue{slotsOf(3, 1)}, 1},
		"as many as there are":      {[]*mvccpb.KeyValue{slotsOf(3, 1), slotsOf(3, 1), slotsOf(3, 1), slotsOf(3, 1)}, 3},
		"by their weights":          {[]*mvccpb.KeyValue{slotsOf(3, 2), slotsOf(3, 1), slotsOf(3, 1)}, 2},
		"none passes a large one":   {[]*mvccpb.KeyValue{slotsOf(3, 1), slotsOf(3, 3), slotsOf(3, 1)}, 1},
		"another number":            {[]*mvccpb.KeyValue{slotsOf(3, 1), slotsOf(4, 1), slotsOf(3, 1)}, 1},
		"behind one alone":          {[]*mvccpb.KeyValue{alone(), slotsOf(3, 1)}, 1},
		"before one alone":          {[]*mvccpb.KeyValue{slotsOf(3, 1), alone(), slotsOf(3, 1)}, 1},
		"behind those who share":    {[]*mvccpb.KeyValue{shared(), shared(), slotsOf(3, 1)}, 2},
		"before those who share":    {[]*mvccpb.KeyValue{slotsOf(3, 1), slotsOf(3, 1), shared()}, 2},
		"foreign between":           {[]*mvccpb.KeyValue{slotsOf(3, 1), {Lease: 7}, slotsOf(3, 1)}, 1},
		"a weight that is none":     {[]*mvccpb.KeyValue{slotsOf(3, 0), slotsOf(3, -5), slotsOf(3, 1), slotsOf(3, 1)}, 3},
		"a weight above all":        {[]*mvccpb.KeyValue{slotsOf(3, 9), slotsOf(3, 1)}, 1},
		"a number that is none":     {[]*mvccpb.KeyValue{slotsOf(0, 1), slotsOf(0, 1)}, 1},
		"a number that is negative": {[]*mvccpb.KeyValue{slotsOf(-1, 1), slotsOf(-1, 1)}, 1},
	} {
		if got := Holding(c.queue); got != c.want {
			t.Errorf("%s: %d hold, want %d", name, got, c.want)
		}
	}
}

// Whatever the queue is, those who hold are its head, they want no more slots than there are, and each finds it so by itself.
func TestThoseWhoHoldAreTheHeadOfTheQueueAndFindItSo(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var all []*mvccpb.KeyValue
		for range 1 + dice.IntN(10) {
			switch x := dice.IntN(10); {
			case x == 0:
				all = append(all, alone())
			case x == 1:
				all = append(all, shared())
			default:
				n := 4 + dice.IntN(10)/9
				all = append(all, slotsOf(n, 1+dice.IntN(n)*dice.IntN(n)/n))
			}
		}
		n, sum := Holding(all), 0
		for i, kv := range all {
			c, taken := ClaimOf(kv), 0
			for _, ahead := range all[:i] {
				taken += c.Taken(ahead)
			}
			if holds := taken <= c.Room(); holds != (i < n) {
				t.Fatalf("%d hold of %s, and the %d. finds %v", n, all, i, holds)
			}
			if i < n {
				sum += c.Weight
			}
		}
		if first := ClaimOf(all[0]); first.Slots > 0 && sum > first.Slots || first == (Claim{}) && n != 1 {
			t.Fatalf("%d hold of %s", n, all)
		}
	}
}

func TestTheRecordOfSlotsIsWhatJSONWrites(t *testing.T) {
	for _, r := range []Record{
		{Version: Version, Owner: "a", Mode: Slots, Slots: 8, Weight: 3, Nonce: 1},
		{Version: Version, Owner: "a", Mode: Exclusive, Nonce: 1},
		{Version: Version, Owner: "a", Mode: Slots, Slots: 8, Weight: 3, Evicted: true},
	} {
		want, err := json.Marshal(r)
		if err != nil || string(r.Encode()) != string(want) {
			t.Errorf("got %s; want %s, %v", r.Encode(), want, err)
		}
		if got, ok := Parse(want); !ok || got.Claim() != r.Claim() {
			t.Errorf("%s claims %+v", want, got.Claim())
		}
	}
}

func TestAClaimIsWhatTheRecordOfItsModeSays(t *testing.T) {
	for _, c := range []Claim{{}, {Shared: true}, {Slots: 3, Weight: 2}} {
		r := Record{Mode: c.Mode(), Slots: c.Slots, Weight: c.Weight}
		if got := r.Claim(); got != c {
			t.Errorf("%+v is written as %q, and read as %+v", c, r.Mode, got)
		}
	}
}
