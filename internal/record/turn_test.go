package record

import (
	"encoding/json"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// waiting returns entries in d/ that wait to hold the lock alone.
func waiting(n int) (all []*mvccpb.KeyValue) {
	for i := range int64(n) {
		r := Record{Version: Version, Owner: fmt.Sprint("host:", i), Mode: Exclusive, Nonce: uint64(i + 1)}
		all = append(all, &mvccpb.KeyValue{Key: fmt.Append(nil, "d/", i), CreateRevision: 10 + i, ModRevision: 10 + i, Lease: 7, Value: r.Encode()})
	}
	return all
}

func TestATurnGoesDownTheQueue(t *testing.T) {
	queue := waiting(4)
	followers := FollowersOf("d/", queue)
	for i, kv := range queue {
		if len(followers) != len(queue)-i {
			t.Fatalf("%d follow, want %d", len(followers), len(queue)-i)
		}
		first, ok := followers.First()
		if !ok || "d/"+first.Name != string(kv.Key) || first.Rev != kv.CreateRevision {
			t.Fatalf("%s follows, of %d, want %s", first.Name, first.Rev, kv.Key)
		}
		told := &mvccpb.KeyValue{Key: kv.Key, CreateRevision: kv.CreateRevision, Lease: 7, Value: []byte(WithTurn(first, followers[1:]))}
		before, _ := Parse(kv.Value)
		after, ok := Parse(told.Value)
		if !ok || after.Owner != before.Owner || after.Nonce != before.Nonce || !json.Valid(told.Value) {
			t.Fatalf("the record has become %s", told.Value)
		}
		turn := TurnOf(told)
		if turn == nil {
			t.Fatalf("no turn in %s", told.Value)
		}
		followers = turn.Followers
	}
	if _, ok := followers.First(); ok {
		t.Error("somebody follows the last")
	}
}

func TestATurnIsOfOneEntry(t *testing.T) {
	kv := waiting(1)[0]
	if TurnOf(nil) != nil || TurnOf(kv) != nil {
		t.Error("there is a turn where none was told")
	}
	told := &mvccpb.KeyValue{CreateRevision: 10, Value: []byte(WithTurn(Follower{Rev: 10, Value: kv.Value}, nil))}
	if TurnOf(told) == nil {
		t.Error("the turn is not read")
	}
	told.CreateRevision++
	if TurnOf(told) != nil {
		t.Error("the turn of an older entry counts")
	}
	r, _ := Parse(told.Value)
	r.Request = &Request{By: "x"}
	if again := (&mvccpb.KeyValue{CreateRevision: 10, Value: r.Encode()}); TurnOf(again) != nil {
		t.Error("who puts the record again leaves the turn in it")
	}
	r.Annotations = map[string]string{"turn": "left"}
	if noted := (&mvccpb.KeyValue{CreateRevision: 10, Value: r.Encode()}); TurnOf(noted) != nil {
		t.Error("an annotation counts as a turn")
	}
}

func TestFollowersEndAtWhatIsNoPlainEntry(t *testing.T) {
	for name, spoil := range map[string]func(kv *mvccpb.KeyValue){
		"foreign": func(kv *mvccpb.KeyValue) { kv.Value = []byte("x") },
		"shared":  func(kv *mvccpb.KeyValue) { kv.Value = Record{Version: Version, Mode: Shared}.Encode() },
		"slots":   func(kv *mvccpb.KeyValue) { kv.Value = Record{Version: Version, Mode: Slots, Slots: 2}.Encode() },
		"evicted": func(kv *mvccpb.KeyValue) {
			kv.Value = Record{Version: Version, Mode: Exclusive, Evicted: true}.Encode()
		},
		"put again": func(kv *mvccpb.KeyValue) { kv.ModRevision++ },
		"long":      func(kv *mvccpb.KeyValue) { kv.Value = append(make([]byte, maxValue), kv.Value...) },
	} {
		queue := waiting(4)
		spoil(queue[2])
		if all := FollowersOf("d/", queue); len(all) != 2 {
			t.Errorf("%s: %d follow, want 2", name, len(all))
		}
	}
	queue := waiting(4)
	queue[1].Lease = 0
	if all := FollowersOf("d/", queue); len(all) != 3 {
		t.Errorf("a key without a lease follows, or ends those who do: %s", all)
	} else if second, _ := all[1:].First(); second.Name != "2" {
		t.Errorf("the second is %s", second.Name)
	}
}
