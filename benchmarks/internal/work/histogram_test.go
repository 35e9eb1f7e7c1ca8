package work

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestAQuantileIsWithinTwoPercent(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var halves [2]histogram
	var all []time.Duration
	for i := range 100_000 {
		d := time.Duration(math.Exp(random.Float64() * 20)) // from nanoseconds to half a second
		all = append(all, d)
		halves[i%2].add(d)
	}
	slices.Sort(all)
	halves[0].merge(&halves[1])
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999} {
		want, got := all[int(q*float64(len(all)))], halves[0].quantile(q)
		if math.Abs(float64(got-want)) > 0.02*float64(want)+1 {
			t.Errorf("quantile %g is %v, want %v", q, got, want)
		}
	}
}

func TestAHistogramTakesAnyDuration(t *testing.T) {
	for _, d := range []time.Duration{-1, 0, 1, 31, 32, 63, 64, time.Hour, math.MaxInt64} {
		var h histogram
		h.add(d)
		if got := h.quantile(0.5); math.Abs(float64(got-max(0, d))) > 0.02*float64(d) && d > 0 {
			t.Errorf("%d became %d", d, got)
		}
	}
	if got := new(histogram).quantile(0.5); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
}
