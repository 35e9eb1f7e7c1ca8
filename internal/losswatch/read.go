package losswatch

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcderr"
	"github.com/phpgao/elock/internal/xctx"
)

const (
	// readBatch is how many keys are read in one transaction; etcd allows 128 operations by default.
	readBatch = 64
	// firstPause is the first pause after a read that failed.
	firstPause = 50 * time.Millisecond
	// forbiddenFor is how long a key is not read that etcd does not let be read.
	forbiddenFor = 30 * time.Second
	// maxForbidden is how many such keys are found between two looks: each costs some reads.
	maxForbidden = 8
)

// enqueue has keys read, once startReading is called. The caller holds mu.
func (w *Watcher) enqueue(keys ...*key) {
	for _, k := range keys {
		if !k.queued {
			k.queued = true
			w.queue = append(w.queue, k)
		}
	}
}

// startReading reads what is in the queue, on a goroutine while there is any.
func (w *Watcher) startReading() {
	w.mu.Lock()
	start := !w.reading && len(w.queue) > 0
	w.reading = w.reading || start
	w.mu.Unlock()
	if start {
		w.cfg.Spawn(w.readAll) // or the process ends
	}
}

// readAll reads the keys of the queue, and passes those on that are not there any more. It tries until that is done, or etcd
// refuses.
func (w *Watcher) readAll() {
	size, forbidden := readBatch, 0
	for wait := firstPause; w.cfg.Base.Err() == nil; {
		keys, entries := w.dequeue(size)
		if len(keys) == 0 {
			return
		}
		missing, err := w.missing(entries)
		switch {
		case err == nil:
			wait = firstPause
			if len(missing) > 0 {
				w.cfg.Missing(missing)
			}
		case errors.Is(err, rpctypes.ErrTooManyOps) && size > 1:
			size /= 2
			w.putBack(keys)
		case etcderr.Refused(err) && !etcderr.Passing(err):
			if w.refused.CompareAndSwap(false, true) {
				w.cfg.Log.Warn("elock: etcd refuses to let holds be read", "owner", w.cfg.Owner, "err", err)
			}
			if !etcderr.Contents(err) || !w.readHalves(keys, entries, &forbidden) {
				w.dropQueue()
			}
		default:
			w.putBack(keys)
			wait = xctx.Pause(w.cfg.Base, wait)
		}
	}
}

// readHalves reads keys in halves, of which etcd refuses some because of what they are: these alone are not read for a while, and
// forbidden counts them. It reports false if there are too many, or another error comes: the others are left to the next look then.
func (w *Watcher) readHalves(keys []*key, entries []Entry, forbidden *int) bool {
	if len(keys) == 1 {
		w.mu.Lock()
		defer w.mu.Unlock()
		keys[0].forbidden = time.Now()
		*forbidden++
		return *forbidden < maxForbidden
	}
	half := len(keys) / 2
	return w.readPart(keys[:half], entries[:half], forbidden) && w.readPart(keys[half:], entries[half:], forbidden)
}

func (w *Watcher) readPart(keys []*key, entries []Entry, forbidden *int) bool {
	missing, err := w.missing(entries)
	if len(missing) > 0 {
		w.cfg.Missing(missing)
	}
	return err == nil || etcderr.Contents(err) && w.readHalves(keys, entries, forbidden)
}

// dequeue takes so many keys from the queue at most, and what they are to be. It drops those that have ended. If none is left,
// reading is over.
func (w *Watcher) dequeue(size int) (keys []*key, entries []Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) > 0 && len(keys) < size {
		k := w.queue[0]
		w.queue = w.queue[1:]
		k.queued = false
		if w.keys[k.name] == k {
			keys, entries = append(keys, k), append(entries, k.entry)
		}
	}
	w.reading = len(keys) > 0
	return keys, entries
}

func (w *Watcher) putBack(keys []*key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.enqueue(keys...)
}

func (w *Watcher) dropQueue() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.queue {
		k.queued = false
	}
	w.queue = nil
}

// missing reads entries, and returns those that are not there any more.
func (w *Watcher) missing(entries []Entry) (missing []Entry, err error) {
	ctx, cancel := context.WithTimeout(w.cfg.Base, xctx.Patience(0))
	defer cancel()
	gets := make([]clientv3.Op, len(entries))
	for i, e := range entries {
		gets[i] = clientv3.OpGet(e.Key)
	}
	resp, err := w.cfg.Read(ctx, gets...)
	if err != nil {
		return nil, err
	}
	var put []*mvccpb.KeyValue
	for i, e := range entries {
		kvs := resp.Responses[i].GetResponseRange().Kvs
		switch {
		case len(kvs) == 0 || kvs[0].CreateRevision != e.Rev || kvs[0].Lease != e.Lease:
			missing = append(missing, e)
		case kvs[0].ModRevision > e.Rev:
			put = append(put, kvs[0])
		}
	}
	if len(put) > 0 && w.cfg.Put != nil {
		w.cfg.Put(put)
	}
	return missing, nil
}
