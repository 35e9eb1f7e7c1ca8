package work

import (
	"testing"
	"time"
)

func TestTurnsOfProcessesExcludeEachOtherUnlessTheyShare(t *testing.T) {
	writer, other := &remote{}, &remote{}
	reader, second := &remote{reads: true}, &remote{reads: true}
	for name, c := range map[string]struct {
		turns []turn
		two   bool
		n     int64
		last  time.Duration
	}{
		"in turns":                 {[]turn{{other, 30, 40}, {writer, 10, 20}}, false, 1, 10},
		"at once":                  {[]turn{{writer, 10, 30}, {other, 20, 40}}, true, 0, 0},
		"again":                    {[]turn{{writer, 10, 20}, {writer, 30, 40}}, false, 0, 0},
		"readers together":         {[]turn{{reader, 10, 30}, {second, 20, 40}}, false, 0, 0},
		"a writer among readers":   {[]turn{{reader, 10, 50}, {second, 15, 20}, {writer, 30, 40}}, true, 0, 0},
		"a reader under a writer":  {[]turn{{writer, 10, 50}, {reader, 20, 30}}, true, 0, 0},
		"a second reader under it": {[]turn{{writer, 10, 30}, {reader, 40, 41}, {second, 20, 50}}, true, 0, 0},
		"after the last reader":    {[]turn{{reader, 10, 50}, {second, 15, 20}, {writer, 57, 60}}, false, 1, 7},
	} {
		took, err := handoversOf(c.turns)
		if (err != nil) != c.two || took.n != c.n || !c.two && c.n > 0 && took.quantile(0.5) != c.last {
			t.Errorf("%s: %d hand-overs of %v, %v", name, took.n, took.quantile(0.5), err)
		}
	}
}
