package simtest

import (
	"testing"
	"testing/synctest"

	"github.com/phpgao/elock/internal/etcdsim"
)

// Bubble runs f in virtual time, with a cluster in memory.
func Bubble(t *testing.T, f func(t *testing.T, sim *etcdsim.Sim)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		sim := etcdsim.New(1)
		t.Cleanup(sim.Close)
		f(t, sim)
	})
}
