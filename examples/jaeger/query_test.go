package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"
)

// A span is one as Jaeger's query API tells it.
type span struct {
	TraceID, SpanID string
	Name            string `json:"operationName"`
	References      []reference
	StartTime       int64 // µs
	Duration        int64 // µs
	Tags            []tag
	Logs            []struct{ Fields []tag }
	ProcessID       string

	service string
}

type reference struct{ RefType, TraceID, SpanID string }

type tag struct {
	Key   string
	Value any
}

func (s *span) start() time.Duration { return time.Duration(s.StartTime) * time.Microsecond }
func (s *span) end() time.Duration {
	return time.Duration(s.StartTime+s.Duration) * time.Microsecond
}

func (s *span) tag(key string) string { return find(s.Tags, key) }

func find(tags []tag, key string) string {
	for _, t := range tags {
		if t.Key == key {
			return fmt.Sprint(t.Value)
		}
	}
	return ""
}

// blockers are what the span's events say of owners ahead.
func (s *span) blockers() (all []blocker) {
	for _, l := range s.Logs {
		switch find(l.Fields, "event") {
		case "elock.queued", "elock.blocker_changed":
			all = append(all, blocker{find(l.Fields, "elock.blocker.owner"), find(l.Fields, "elock.blocker.token")})
		}
	}
	return all
}

type blocker struct{ owner, token string }

// spans fetches all spans of the cast.
func spans(t *testing.T, ui string) map[string]*span {
	t.Helper()
	all := make(map[string]*span)
	for _, service := range cast {
		resp, err := http.Get(ui + "/api/traces?limit=10000&service=" + url.QueryEscape(service))
		if err != nil {
			t.Fatal(err)
		}
		var answer struct {
			Data []struct {
				Spans     []*span
				Processes map[string]struct{ ServiceName string }
			}
		}
		err = json.NewDecoder(resp.Body).Decode(&answer)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, trace := range answer.Data {
			for _, s := range trace.Spans {
				s.service = trace.Processes[s.ProcessID].ServiceName
				all[s.SpanID] = s
			}
		}
	}
	return all
}

// arrived waits until Jaeger has as many acquires and holds as the processes
// report, the one timeout, and nothing more comes; they have sent all.
func arrived(t *testing.T, ui string, acquires int) map[string]*span {
	t.Helper()
	before := 0
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		all := spans(t, ui)
		n, holds, timeouts := len(named(all, "elock.acquire")), len(named(all, "elock.hold")), len(named(all, "elock.timeout"))
		if n == acquires && holds == acquires && timeouts == 1 && len(all) == before {
			return all
		}
		if time.Now().After(deadline) {
			t.Fatalf("Jaeger has %d acquires, %d holds and %d timeouts, want %d, as many, and 1", n, holds, timeouts, acquires)
		}
		before = len(all)
	}
}

func named(all map[string]*span, name string) (some []*span) {
	for _, s := range all {
		if s.Name == name {
			some = append(some, s)
		}
	}
	return some
}
