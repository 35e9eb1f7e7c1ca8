package inspect

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/record"
	"github.com/phpgao/elock/keyspace"
)

const (
	// pageKeys is how many keys a page has. etcd counts all that follow for each page, so
	// small pages make long walks slow.
	pageKeys = 2000
	// maxReads is how many ranges one transaction reads; etcd takes 128 by default.
	maxReads = 100
)

// A Queue is the entries of a lock, the holder first.
type Queue struct {
	Key     keyspace.Key
	Entries []*mvccpb.KeyValue
}

// A Walk reads the queues of many locks, page by page, all at one revision, in the order of
// their paths. It keeps a page, and a queue that the page does not complete. It is for one
// goroutine.
type Walk struct {
	i         *Inspector
	root      string // directory of all queues
	from, end string // the range that is not read yet
	keys      int64  // of a page
	rev       int64  // of all pages; 0: there was none yet

	dir  string // of the last queue that was read, which may go on
	last []*mvccpb.KeyValue
}

// Walk returns a Walk of all locks whose names begin with under and a slash. The zero Key
// stands for all locks.
func (i *Inspector) Walk(under keyspace.Key) *Walk {
	root := strings.TrimSuffix(keyspace.MustParse("x").Path(i.Prefix), "x/")
	from := root
	if !under.IsZero() {
		from = under.ValuePath(i.Prefix) + ":/" // a segment that is not the last
	}
	return &Walk{i: i, root: root, from: from, end: clientv3.GetPrefixRangeEnd(from), keys: pageKeys}
}

// Revision is that of etcd at which all pages are read; 0 before the first.
func (w *Walk) Revision() int64 { return w.rev }

// Next reads a page. It returns the queues that are known whole, and whether there are more
// pages. It tries until ctx ends. After a compaction of the Walk's revision the error matches
// rpctypes.ErrCompacted. After an error the Walk is not to be used.
func (w *Walk) Next(ctx context.Context) (queues []Queue, more bool, err error) {
	names, more, err := w.names(ctx)
	if err != nil {
		return nil, false, err
	}
	// Values of guards lie among the queues, and may be large. They are not read.
	for reads := range slices.Chunk(w.entries(names), maxReads) {
		kvs, err := w.read(ctx, reads)
		if err != nil {
			return nil, false, err
		}
		for _, kv := range record.Entries(kvs) {
			if dir := w.dirOf(kv.Key); dir != w.dir {
				queues = w.take(queues)
				w.dir = dir
			}
			w.last = append(w.last, kv)
		}
	}
	if !more {
		queues = w.take(queues)
	}
	return queues, more, nil
}

// names reads the names of the next page.
func (w *Walk) names(ctx context.Context) (names []*mvccpb.KeyValue, more bool, err error) {
	err = w.i.Etcd.Persist(ctx, func(ctx context.Context) error {
		resp, err := w.i.Etcd.Read(ctx, clientv3.OpGet(w.from, clientv3.WithRange(w.end), clientv3.WithRev(w.rev),
			clientv3.WithKeysOnly(), clientv3.WithLimit(w.keys)))
		if err != nil {
			return err
		}
		page := resp.Responses[0].GetResponseRange()
		names, more = page.Kvs, page.More
		if w.rev == 0 {
			w.rev = resp.Header.Revision
		}
		return nil
	})
	if more {
		w.from = string(names[len(names)-1].Key) + "\x00"
	}
	return names, more, err
}

// entries returns the reads of all entries in a page: one for those between which lies nothing
// else.
func (w *Walk) entries(names []*mvccpb.KeyValue) (reads []clientv3.Op) {
	for len(names) > 0 {
		n := slices.IndexFunc(names, func(kv *mvccpb.KeyValue) bool { return w.dirOf(kv.Key) == "" })
		if n < 0 {
			n = len(names)
		}
		if n > 0 {
			reads = append(reads, clientv3.OpGet(string(names[0].Key), clientv3.WithRev(w.rev),
				clientv3.WithRange(string(names[n-1].Key)+"\x00")))
		}
		names = names[min(n+1, len(names)):]
	}
	return reads
}

func (w *Walk) read(ctx context.Context, reads []clientv3.Op) (all []*mvccpb.KeyValue, err error) {
	err = w.i.Etcd.Persist(ctx, func(ctx context.Context) error {
		resp, err := w.i.Etcd.Read(ctx, reads...)
		if err != nil {
			return err
		}
		for _, r := range resp.Responses {
			all = append(all, r.GetResponseRange().Kvs...)
		}
		return nil
	})
	return all, err
}

// take appends the last queue that was read. If no name has its directory it is none of ours.
func (w *Walk) take(queues []Queue) []Queue {
	if key, ok := w.keyOf(w.dir); ok && len(w.last) > 0 {
		slices.SortFunc(w.last, func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.CreateRevision, b.CreateRevision) })
		queues = append(queues, Queue{key, w.last})
	}
	w.last = nil
	return queues
}

// dirOf returns the directory of the queue in which a key of etcd lies, "" if it lies in none. See
// keyspace.Key.Path: a directory ends with the first component that has no colon at its end.
func (w *Walk) dirOf(name []byte) string {
	for at := len(w.root); ; {
		n := slices.Index(name[at:], '/')
		if n < 0 {
			return ""
		}
		at += n + 1
		if n == 0 || name[at-2] != ':' {
			return string(name[:at])
		}
	}
}

// keyOf returns the Key whose queue has that directory.
func (w *Walk) keyOf(dir string) (keyspace.Key, bool) {
	path, ok := strings.CutPrefix(dir, w.root)
	if !ok {
		return keyspace.Key{}, false
	}
	path, err := url.PathUnescape(strings.ReplaceAll(strings.TrimSuffix(path, "/"), ":/", "/"))
	if err != nil {
		return keyspace.Key{}, false
	}
	key, err := keyspace.Parse(path)
	return key, err == nil && key.Path(w.i.Prefix) == dir // nothing else is written so
}
