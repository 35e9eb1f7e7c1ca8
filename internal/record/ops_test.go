package record

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestCreatedComparesAsTheClientWould(t *testing.T) {
	got, want := Created("name", 7), clientv3.Compare(clientv3.CreateRevision("name"), "=", 7)
	if g, w := got.GetCompare().String(), want.GetCompare().String(); g != w {
		t.Errorf("got %s, want %s", g, w)
	}
}

func TestVacantComparesAsTheClientWould(t *testing.T) {
	got, want := Vacant("/a/b/"), clientv3.Compare(clientv3.LeaseValue("/a/b/"), "=", 0).WithRange(clientv3.GetPrefixRangeEnd("/a/b/"))
	if g, w := got.GetCompare().String(), want.GetCompare().String(); g != w {
		t.Errorf("got %s, want %s", g, w)
	}
}

func TestWhatIsReadIsInTheOrderOfItsNames(t *testing.T) {
	names := []string{"b", "none", "a"}
	var answers []*pb.ResponseOp
	for i, op := range Gets(names) {
		if !op.IsGet() || string(op.KeyBytes()) != names[i] || len(op.RangeBytes()) > 0 {
			t.Errorf("operation %d reads %s", i, op.KeyBytes())
		}
		r := &pb.RangeResponse{}
		if names[i] != "none" {
			r.Kvs = []*mvccpb.KeyValue{{Key: []byte(names[i])}}
		}
		answers = append(answers, &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: r}})
	}
	r := ReadOf(9, names, answers)
	if r.Rev != 9 || string(r.KVs[0].Key) != "b" || r.KVs[1] != nil || string(r.KVs[2].Key) != "a" {
		t.Errorf("got %+v", r)
	}
	if r := ReadOf(9, nil, nil); r != nil {
		t.Errorf("of no names: %+v", r)
	}
}

func TestANonceTellsRecordsApart(t *testing.T) {
	kv := &mvccpb.KeyValue{Value: Record{Version: Version, Nonce: 5}.Encode()}
	if !HasNonce(kv, 5) || HasNonce(kv, 6) || HasNonce(&mvccpb.KeyValue{Value: []byte(`{"nonce":5}`)}, 5) {
		t.Error("the nonce of a record is another")
	}
	if Evicted(nil) {
		t.Error("no entry is evicted")
	}
}

func TestWhatIsKnownIsGivenAsACopy(t *testing.T) {
	known := &mvccpb.KeyValue{Key: []byte("/x"), Value: []byte("value"), CreateRevision: 3, ModRevision: 7, Version: 2}
	r := ReadKnown([]string{"/x"}, known)
	kv := r.KVs[0]
	if r.Rev != 7 || r.Names[0] != "/x" || string(kv.Key) != "/x" || string(kv.Value) != "value" || kv.ModRevision != 7 || kv.CreateRevision != 0 || kv.Version != 0 {
		t.Errorf("%+v", r)
	}
	kv.Key[0], kv.Value[0] = 'x', 'x'
	if string(known.Key) != "/x" || string(known.Value) != "value" {
		t.Errorf("what is known has become %v", known)
	}
}
