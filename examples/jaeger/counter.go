package main

import (
	"context"
	"sync/atomic"

	"github.com/phpgao/elock/locker"
)

// counter counts acquires, and those that had to wait, apart from all tracing.
type counter struct {
	locker.NopHook
	acquires, blocked atomic.Int64
}

type blockedKey struct{}

func (c *counter) AcquireStart(ctx context.Context, _ locker.AcquireStartData) (context.Context, map[string]string) {
	c.acquires.Add(1)
	return context.WithValue(ctx, blockedKey{}, new(bool)), nil
}

func (c *counter) Blocked(ctx context.Context, _ locker.BlockedData) {
	if seen := ctx.Value(blockedKey{}).(*bool); !*seen {
		*seen = true
		c.blocked.Add(1)
	}
}
