package nemesis_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// chain returns what was written to a fenced register, in order.
func (w *world) chain(key int) []commit {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	resp, err := w.operator.Get(ctx, recordsOf(key), clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		w.t.Fatal(err)
	}
	var all []commit
	for _, kv := range resp.Kvs {
		c := commit{rev: kv.CreateRevision, times: kv.Version}
		_, err := fmt.Sscanf(strings.TrimPrefix(string(kv.Key), recordsOf(key))+" "+string(kv.Value), "%d %d %d", &c.value, &c.prev, &c.token)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, c)
	}
	final, err := w.operator.Get(ctx, registerOf(key))
	if err != nil {
		w.t.Fatal(err)
	}
	if len(all) > 0 && (len(final.Kvs) == 0 || string(final.Kvs[0].Value) != strconv.FormatInt(all[len(all)-1].value, 10)) {
		w.t.Errorf("key %d: the register is %v, and the last write %+v", key, final.Kvs, all[len(all)-1])
	}
	return all
}

// A tale is what one client told, put together.
type tale struct {
	history
	end *event // of its Locker
}

// tell reads a client's journal. dead is when it was killed, or 0.
func (w *world) tell(id int, dead int64) (*tale, error) {
	events, err := readJournal(w.path(id, "journal"))
	if err != nil && !(dead != 0 && os.IsNotExist(err)) { // killed before it began
		return nil, err
	}
	s := &tale{}
	s.promises = make(map[int64][]promise)
	type grant struct { // locks that are granted together may have the same token
		key   int
		token uint64
	}
	open := make(map[grant]*hold)
	writes := make(map[int64]*operation)
	for _, e := range events {
		g := grant{e.Key, e.Token}
		switch e.Kind {
		case renewed:
			s.promises[e.Lease] = append(s.promises[e.Lease], promise{e.Call, time.Duration(e.Value) * time.Second})
		case failed:
			s.failures = append(s.failures, failure{client: id, key: e.Key, call: e.Call, at: e.At, err: e.Err})
		case granted:
			if open[g] != nil {
				return nil, fmt.Errorf("client %d was granted twice: %+v", id, e)
			}
			open[g] = &hold{client: id, key: e.Key, token: e.Token, asked: e.Call, granted: e.At}
		case leased:
			open[g].lease = e.Lease
		case trusted:
			open[g].seen, open[g].believed = e.Seen, e.Seen
		case ended:
			h := open[g]
			h.seen, h.ended, h.err = max(h.seen, e.Seen), e.At, e.Err
			s.holds = append(s.holds, *h)
			delete(open, g)
		case read:
			s.ops = append(s.ops, operation{client: id, key: e.Key, value: e.Value, call: e.Call, at: e.At})
		case write:
			writes[e.Value] = &operation{client: id, key: e.Key, write: true, value: e.Value, prev: e.Prev, token: e.Token, call: e.Call, err: killed}
		case wrote:
			o := writes[e.Value]
			o.at, o.err = e.At, e.Err
			s.ops = append(s.ops, *o)
			delete(writes, e.Value)
		case begun:
			s.runs = append(s.runs, run{client: id, tick: e.Value, begun: e.At, err: killed})
		case ran:
			s.runs[len(s.runs)-1].ended = e.At
		case ticked:
			if e.Prev == 0 {
				s.runs = append(s.runs, run{client: id, tick: e.Value})
			}
			last := &s.runs[len(s.runs)-1]
			last.told, last.err = e.At, e.Err
		case closed:
			s.end = &e
		}
	}
	for _, h := range open {
		h.ended, h.err = dead, killed
		s.holds = append(s.holds, *h)
	}
	for _, o := range writes {
		s.ops = append(s.ops, *o)
	}
	if dead == 0 && (s.end == nil || len(open)+len(writes) > 0) {
		return nil, fmt.Errorf("client %d ended in the middle", id)
	}
	return s, nil
}

// silent checks that a client had nothing to complain about: a panic, or a data race.
func (w *world) silent(id int) {
	out, err := os.ReadFile(w.path(id, "out"))
	if err != nil {
		w.t.Error(err)
	}
	if len(out) > 0 {
		w.t.Errorf("client %d says:\n%s", id, out[:min(len(out), 8192)])
	}
}
