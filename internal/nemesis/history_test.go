package nemesis_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
)

// A kind says what an event is about.
type kind string

const (
	failed  kind = "failed"  // an acquire; Err says why
	granted kind = "granted" // a hold: At is when its client had it
	leased  kind = "leased"  // a hold: its lease is now known
	trusted kind = "trusted" // a hold: its client saw Err give nil after Seen
	ended   kind = "ended"   // a hold: the client knew it at At; Err says why, "" for a release that was confirmed
	read    kind = "read"    // of the fenced register, answered with Value
	write   kind = "write"   // of Value over Prev begins
	wrote   kind = "wrote"   // that write was answered: Err is "", fenced, or why nobody knows
	renewed kind = "renewed" // a lease, which has Value seconds to live
	begun   kind = "begun"   // a run of the tick Value
	ran     kind = "ran"     // that run returns nil now
	ticked  kind = "ticked"  // Do of the tick Value returned: Err is "" if it is done, unknown, or why it is not; Prev is 1 if Do ran it
	closed  kind = "closed"  // the client's Locker; Err says what it left behind
)

// fenced is the Err of a write that etcd refused as the hold was over.
const fenced = "fenced"

// An event is a line in a client's history. Times are those of now.
type event struct {
	Kind  kind   `json:"kind"`
	Key   int    `json:"key"`
	Token uint64 `json:"token,omitempty"`
	Lease int64  `json:"lease,omitempty"`
	Call  int64  `json:"call,omitempty"` // before it was asked for
	Seen  int64  `json:"seen,omitempty"` // a hold: the last moment at which it was surely held, as its client knows
	At    int64  `json:"at"`
	Value int64  `json:"value,omitempty"`
	Prev  int64  `json:"prev,omitempty"`
	Err   string `json:"err,omitempty"`
}

// A journal takes events as they happen. Each is a write of its own, so that a killed process loses none.
type journal struct{ file *os.File }

func (j journal) add(e event) {
	line, err := json.Marshal(e)
	if err == nil {
		_, err = j.file.Write(append(line, '\n'))
	}
	if err != nil {
		panic(err)
	}
}

// readJournal returns all whole lines; a killed process may leave half a one at the end.
func readJournal(path string) ([]event, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var events []event
	for r := bufio.NewReaderSize(f, 1<<20); ; {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return nil, err
		}
		var e event
		if err := json.Unmarshal(bytes.TrimSpace(line), &e); err != nil {
			return nil, err
		}
		events = append(events, e)
	}
}
