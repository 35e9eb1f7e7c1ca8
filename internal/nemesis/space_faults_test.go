package nemesis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// quota is small, so that it is soon filled, and more than a run needs.
	quota  = 48 << 20
	filler = "/filler"

	quotaFilled = "quota filled"
)

// quotaFlag is etcd's.
var quotaFlag = fmt.Sprintf("--quota-backend-bytes=%d", quota)

// spaceFaults leave etcd without space, until somebody makes some and clears the alarm.
var spaceFaults = []fault{
	{quotaFilled, func(h *hand, _ context.Context) { // the shortest run needs it, and etcd may be away in its first seconds
		if h.fill() {
			h.mu.Lock()
			h.full++
			h.mu.Unlock()
			idle(context.Background(), h.evenSpan(500*time.Millisecond, 4*time.Second))
		}
		h.insist("make space", h.makeSpace)
	}},
}

// fill puts values until etcd has no space. It reports false when that takes too long.
func (h *hand) fill() bool {
	ctx, cancel := context.WithTimeout(context.Background(), recovery/2)
	defer cancel()
	value := strings.Repeat("x", 1<<20)
	for ctx.Err() == nil {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := h.operator.Put(try, filler, value)
		cancel()
		if errors.Is(err, rpctypes.ErrNoSpace) {
			return true
		}
		if err != nil {
			idle(ctx, 50*time.Millisecond)
		}
	}
	return false
}

// makeSpace does what an operator does about the alarm.
func (w *world) makeSpace(ctx context.Context, c *clientv3.Client) error {
	gone, err := c.Delete(ctx, filler)
	if err != nil {
		return err
	}
	_, err = c.Compact(ctx, gone.Header.Revision)
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return err
	}
	for m, direct := range w.direct { // one that keeps its size would raise the alarm again
		if _, err := direct.Get(ctx, filler); err != nil { // a member that was away has now grown, too
			return err
		}
		status, err := direct.Status(ctx, m.Endpoint())
		if err == nil && status.DbSize > quota/2 {
			_, err = direct.Defragment(ctx, m.Endpoint())
		}
		if err != nil {
			return err
		}
	}
	if _, err := c.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		return err
	}
	resp, err := c.AlarmList(ctx)
	if err == nil && len(resp.Alarms) > 0 {
		err = fmt.Errorf("alarms: %v", resp.Alarms)
	}
	return err
}
