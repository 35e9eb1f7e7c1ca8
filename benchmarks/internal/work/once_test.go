package work

import (
	"slices"
	"testing"
)

func TestSizesFollowTheScale(t *testing.T) {
	old := *scale
	defer func() { *scale = old }()
	for _, c := range []struct {
		scale float64
		want  []int
	}{
		{1, []int{10_000, 100_000, 1_000_000}},
		{0, []int{2_000, 10_000, 100_000}}, // a tenth, and not below the least
		{0.001, []int{2_000}},
	} {
		*scale = c.scale
		if got := Sizes(2_000, 10_000, 100_000, 1_000_000); !slices.Equal(got, c.want) {
			t.Errorf("scale %g: %v, want %v", c.scale, got, c.want)
		}
	}
}
