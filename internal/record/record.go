package record

import (
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"
)

// A Record is the value of an entry.
type Record struct {
	Version     int               `json:"elock"`
	Owner       string            `json:"owner"`
	Mode        string            `json:"mode"`
	Since       time.Time         `json:"since"`
	Nonce       uint64            `json:"nonce"` // tells apart the values that one key had under one lease
	Slots       int               `json:"slots,omitempty"`
	Weight      int               `json:"weight,omitempty"` // how many of the slots it takes
	Evicted     bool              `json:"evicted,omitempty"`
	Retained    bool              `json:"kept,omitempty"`    // "kept" in etcd, its first name. Perhaps nobody holds the lock: to find out, queue
	Until       time.Time         `json:"until,omitzero"`    // not zero: nobody holds the lock any more, and it stays taken until then
	Request     *Request          `json:"request,omitempty"` // somebody asks the owner for the lock
	Annotations map[string]string `json:"annotations,omitempty"`

	AnnouncedText  string `json:"announcement,omitempty"`      // see Announcement
	AnnouncedBytes []byte `json:"announcementBytes,omitempty"` // instead of it, if that is not UTF-8
}

// A Request is who asks the owner of an entry for its lock, and why.
type Request struct {
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`
}

// Version is that of the records that this package writes.
const Version = 1

// The modes in which a lock is held.
const (
	Exclusive = "exclusive"
	Shared    = "shared"
	Slots     = "slots"
)

// Announcement returns what the owner announces.
func (r *Record) Announcement() string {
	if len(r.AnnouncedBytes) > 0 {
		return string(r.AnnouncedBytes)
	}
	return r.AnnouncedText
}

// Announce sets what the owner announces. JSON has no other text than UTF-8.
func (r *Record) Announce(text string) {
	r.AnnouncedText, r.AnnouncedBytes = text, nil
	if !utf8.ValidString(text) {
		r.AnnouncedText, r.AnnouncedBytes = "", []byte(text)
	}
}

// Encode returns r as JSON.
func (r Record) Encode() []byte {
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
func (r Record) appendPlain(b []byte) (_ []byte, ok bool) {
	if r.Evicted || !r.Until.IsZero() || r.Request != nil || len(r.Annotations) > 0 || r.AnnouncedText != "" || r.AnnouncedBytes != nil || !plain(r.Owner) || !plain(r.Mode) {
		return nil, false
	}
	b = strconv.AppendInt(append(b, `{"elock":`...), int64(r.Version), 10)
	b = append(append(b, `,"owner":"`...), r.Owner...)
	b = append(append(b, `","mode":"`...), r.Mode...)
	b, err := r.Since.AppendText(append(b, `","since":"`...))
	b = strconv.AppendUint(append(b, `","nonce":`...), r.Nonce, 10)
	if r.Slots != 0 {
		b = strconv.AppendInt(append(b, `,"slots":`...), int64(r.Slots), 10)
	}
	if r.Weight != 0 {
		b = strconv.AppendInt(append(b, `,"weight":`...), int64(r.Weight), 10)
	}
	if r.Retained {
		b = append(b, `,"kept":true`...)
	}
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

// Parse reports whether value was written by this package.
func Parse(value []byte) (r Record, ok bool) {
	err := json.Unmarshal(value, &r)
	return r, err == nil && r.Version >= Version
}
