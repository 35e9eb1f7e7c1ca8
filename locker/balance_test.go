package locker_test

import (
	"context"
	"sync/atomic"

	"github.com/phpgao/elock/locker"
)

// A balance counts Starts without their Ends.
type balance struct {
	trap                    func(method string) // called in each method
	acquires, holds, forced atomic.Int64        // that have begun and not ended
	wrong                   atomic.Bool         // an End without a Start
}

func (h *balance) count(n *atomic.Int64, by int64, method string) {
	if n != nil && n.Add(by) < 0 {
		h.wrong.Store(true)
	}
	h.trap(method)
}

func (h *balance) AcquireStart(ctx context.Context, _ locker.AcquireStartData) (context.Context, map[string]string) {
	h.count(&h.acquires, 1, "AcquireStart")
	return ctx, nil
}
func (h *balance) AcquireEnd(context.Context, locker.AcquireEndData) {
	h.count(&h.acquires, -1, "AcquireEnd")
}
func (h *balance) Blocked(context.Context, locker.BlockedData) { h.count(nil, 0, "Blocked") }
func (h *balance) HoldStart(ctx context.Context, _ locker.HoldStartData) context.Context {
	h.count(&h.holds, 1, "HoldStart")
	return ctx
}
func (h *balance) HoldRisk(context.Context, locker.HoldRiskData) { h.count(nil, 0, "HoldRisk") }
func (h *balance) HoldEnd(context.Context, locker.HoldEndData)   { h.count(&h.holds, -1, "HoldEnd") }
func (h *balance) TimeoutStart(ctx context.Context, _ locker.TimeoutStartData) context.Context {
	h.count(&h.forced, 1, "TimeoutStart")
	return ctx
}
func (h *balance) TimeoutEnd(context.Context, locker.TimeoutEndData) {
	h.count(&h.forced, -1, "TimeoutEnd")
}

func (h *balance) even() bool {
	return h.acquires.Load() == 0 && h.holds.Load() == 0 && h.forced.Load() == 0 && !h.wrong.Load()
}
