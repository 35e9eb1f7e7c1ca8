package locker

import (
	"encoding/json"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// A Queue is who holds a lock and who waits for it, in the order of arrival.
type Queue struct {
	Holders []Owner
	Waiters []Owner
}

// An Owner is one process's entry in the queue of a lock.
type Owner struct {
	Name        string            // as given by WithOwner
	Token       Token             // of its first hold, or the one that it will have; 0 before it reached etcd
	Shared      bool              // it shares the lock, or wants to
	Foreign     bool              // not written by this package: only Token is known
	Since       time.Time         // when it began to wait, by its own clock
	Annotations map[string]string // what its hooks tell
}

// A record is the value of a lock's key.
type record struct {
	Version     int               `json:"elock"`
	Owner       string            `json:"owner"`
	Mode        string            `json:"mode"`
	Since       time.Time         `json:"since"`
	Nonce       uint64            `json:"nonce"` // tells apart the values that one key had under one lease
	Evicted     bool              `json:"evicted,omitempty"`
	Kept        bool              `json:"kept,omitempty"` // perhaps nobody holds the lock: queue, to be told
	Annotations map[string]string `json:"annotations,omitempty"`
}

const (
	recordVersion = 1
	exclusive     = "exclusive"
	shared        = "shared"
)

func (r record) encode() []byte {
	if data, ok := r.appendPlain(make([]byte, 0, 160)); ok {
		return data
	}
	data, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return data
}

// appendPlain appends what json.Marshal makes of the usual record, for a
// fifth of the cost. It reports false if r is another.
func (r record) appendPlain(b []byte) (_ []byte, ok bool) {
	if r.Evicted || r.Kept || len(r.Annotations) > 0 || !plain(r.Owner) || !plain(r.Mode) {
		return nil, false
	}
	b = strconv.AppendInt(append(b, `{"elock":`...), int64(r.Version), 10)
	b = append(append(b, `,"owner":"`...), r.Owner...)
	b = append(append(b, `","mode":"`...), r.Mode...)
	b, err := r.Since.AppendText(append(b, `","since":"`...))
	b = strconv.AppendUint(append(b, `","nonce":`...), r.Nonce, 10)
	return append(b, '}'), err == nil
}

// plain reports whether JSON writes s as it is.
func plain(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

// parseRecord reports whether value was written by this package.
func parseRecord(value []byte) (r record, ok bool) {
	err := json.Unmarshal(value, &r)
	return r, err == nil && r.Version >= recordVersion
}

func ownerOf(kv *mvccpb.KeyValue) Owner {
	o := Owner{Token: tokenOf(kv.CreateRevision)}
	r, ok := parseRecord(kv.Value)
	if !ok {
		o.Foreign = true
		return o
	}
	o.Name, o.Shared, o.Since, o.Annotations = r.Owner, r.Mode == shared, r.Since, r.Annotations
	return o
}
