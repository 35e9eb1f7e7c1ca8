package peers

import (
	"context"
	"testing"

	"github.com/phpgao/elock/benchmarks/internal/work"
)

func TestNoTwoHoldALockAtOnce(t *testing.T) {
	for _, impl := range onRedis(t) {
		t.Run(impl.Name, func(t *testing.T) { work.Exclude(t, nil, impl, 2, 2) })
	}
}

func TestADurableRedisWaitsForTheDisk(t *testing.T) {
	client := newClient(t, startRedis(t, durable...))
	for name, want := range map[string]string{"appendonly": "yes", "appendfsync": "always"} {
		if got := client.ConfigGet(context.Background(), name).Val()[name]; got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
}
