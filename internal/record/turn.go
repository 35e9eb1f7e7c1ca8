package record

import (
	"bytes"
	"encoding/json"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// A Turn, in the value of an entry, says that the entry is the first in the queue: the one ahead, which was the first, has left it
// the lock in the transaction in which it went. It is no field of a Record: who puts the record again leaves it out.
type Turn struct {
	Rev       int64     `json:"rev"` // the create revision of the entry, which tells it from others of its name
	Followers Followers `json:"behind,omitempty"`
}

// Followers are the entries behind another one, one directly after the other. Each is a [Follower] as JSON: only the first is
// decoded.
type Followers []json.RawMessage

// A Follower is an entry that waits to hold the lock alone, and was put once.
type Follower struct {
	Name  string          `json:"name"` // within its directory
	Rev   int64           `json:"rev"`
	Value json.RawMessage `json:"value"`
}

const (
	// MaxFollowers is how many are read at once, and maxValue how long their values may be: a Turn has those that are left.
	MaxFollowers = 16
	maxValue     = 300
)

// turnField begins a Turn in a value.
const turnField = `,"turn":`

// FollowersOf returns the first entries of queue, which is in order, as followers of another one in the directory dir: up to one
// that is something else.
func FollowersOf(dir string, queue []*mvccpb.KeyValue) (all Followers) {
	for _, kv := range Entries(queue) {
		r, ours := Parse(kv.Value)
		name := string(kv.Key[len(dir):])
		if !ours || r.Claim() != (Claim{}) || r.Evicted || kv.ModRevision != kv.CreateRevision ||
			len(kv.Value) > maxValue || !bytes.HasSuffix(kv.Value, []byte("}")) {
			break
		}
		follower, err := json.Marshal(Follower{Name: name, Rev: kv.CreateRevision, Value: kv.Value})
		if err != nil {
			panic(err) // the value was parsed
		}
		all = append(all, follower)
	}
	return all
}

// First returns the first of all. It reports false if there is none.
func (all Followers) First() (first Follower, ok bool) {
	if len(all) == 0 {
		return first, false
	}
	err := json.Unmarshal(all[0], &first)
	return first, err == nil
}

// TurnOf returns the turn that an entry, which may be nil, was given; nil if there is none.
func TurnOf(kv *mvccpb.KeyValue) *Turn {
	if kv == nil || !bytes.Contains(kv.Value, []byte(turnField)) { // most have none
		return nil
	}
	var value struct{ Turn *Turn }
	if json.Unmarshal(kv.Value, &value) != nil || value.Turn == nil || value.Turn.Rev != kv.CreateRevision {
		return nil
	}
	return value.Turn
}

// ToldFirst reports whether an entry was told its turn, and nothing else was put since it came.
func ToldFirst(kv *mvccpb.KeyValue) bool { return kv.Version == 2 && TurnOf(kv) != nil }

// WithTurn returns the value of an entry that gives it the turn, where rest are behind it.
func WithTurn(entry Follower, rest Followers) string {
	turn, err := json.Marshal(Turn{entry.Rev, rest})
	if err != nil {
		panic(err) // all of it was parsed
	}
	return strings.TrimSuffix(string(entry.Value), "}") + turnField + string(turn) + "}"
}
