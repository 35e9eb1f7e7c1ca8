package guard

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

const (
	// checkTicks is how often a read checks what a watch in place has told. If
	// that finds a change that was not told, the next check comes after graceTicks.
	checkTicks = 10 * time.Second
	graceTicks = 2 * time.Second
	// overdue is how long watches have to tell a change that is known. Then the
	// current value is told, and those between are left out.
	overdue = 30 * time.Second
)

// compare reads the value, and notes in behind since when it is known that it is not
// the one that was told last. rev is 0 if etcd does not answer; the error is its
// refusal of the read.
func (f *follower) compare(ctx context.Context) (kv *mvccpb.KeyValue, rev int64, err error) {
	kv, rev, err = f.get(ctx)
	switch {
	case refused(err):
		return nil, 0, err
	case err != nil:
		return nil, 0, nil
	case kv.GetModRevision() != f.told:
		if f.behind.IsZero() {
			f.behind = time.Now()
		}
		return kv, rev, nil
	}
	f.behind = time.Time{}
	if kv != nil { // one that is absent may have been stored and deleted since: the watch tells that
		f.seen = rev
	}
	return kv, rev, nil
}

// check finds out whether a watch that is in place fails to tell a change. A change
// found for the first time may be on its way.
func (f *follower) check(ctx context.Context) error {
	if _, _, err := f.compare(ctx); err != nil {
		return err
	}
	if !f.behind.IsZero() && time.Since(f.behind) >= graceTicks {
		return errSilent
	}
	return nil
}

// catchUp tells the current value while no watch is in place: if none was told yet,
// if etcd has compacted what came after that, or if watches have not told a change
// for very long. It reports whether etcd answered.
func (f *follower) catchUp(ctx context.Context) (answered bool, err error) {
	kv, rev, err := f.compare(ctx)
	if err != nil || rev == 0 {
		return false, err
	}
	if !f.behind.IsZero() && (f.seen == 0 || time.Since(f.behind) >= overdue) {
		return true, f.next(kv, rev)
	}
	return true, nil
}
