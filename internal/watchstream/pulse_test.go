package watchstream

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// replacements has p looked at for so long while nothing answers, and returns after
// how long each stream was found dead.
func replacements(p *Pulse, d time.Duration) (dead []time.Duration) {
	opened := time.Now()
	for end := opened.Add(d); time.Now().Before(end); {
		time.Sleep(Tick)
		if _, it := p.Look(); it {
			dead = append(dead, time.Since(opened))
			p.Opened()
			opened = time.Now()
		}
	}
	return dead
}

// asks has p looked at for so long while all is answered at once, and returns when it asked, since the stream was opened.
func asks(p *Pulse, d time.Duration) (at []time.Duration) {
	for opened := time.Now(); time.Since(opened) < d; {
		time.Sleep(Tick)
		if ask, _ := p.Look(); ask {
			at = append(at, time.Since(opened))
			p.Heard(true)
		}
	}
	return at
}

func TestAStreamThatHasAnsweredIsAskedLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pulse{Rest: 20 * Tick}
		for range 2 { // each stream
			p.Opened()
			if at := asks(p, time.Minute); !slices.Equal(at, []time.Duration{Tick, 21 * Tick, 41 * Tick}) {
				t.Errorf("asked at %v", at)
			}
		}
		if dead := replacements(p, time.Minute); len(dead) == 0 || dead[0] > p.Rest+Silence+2*Tick {
			t.Errorf("then dead after %v", dead)
		}
		p = &Pulse{}
		p.Opened()
		if n := len(asks(p, time.Minute)); n != 60 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pulse{First: Unproven}
		p.Opened()
		first := replacements(p, 5*time.Minute)
		if len(first) < 5 || first[0] < Unproven || first[0] > Unproven+3*Tick || first[1] < 2*Unproven || first[4] > maxSilence+3*Tick {
			t.Errorf("without any answer, streams are dead after %v", first)
		}
		if p.Proven() {
			t.Error("etcd has not answered")
		}
		p.Heard(true)
		proven := replacements(p, 5*time.Minute)
		if len(proven) < 5 || proven[0] > Silence+3*Tick || proven[1] < 2*Silence || proven[4] > maxSilence+3*Tick {
			t.Errorf("when answers do not come any more, streams are dead after %v", proven)
		}
		p.Heard(true)
		if again := replacements(p, time.Minute); again[0] != proven[0] {
			t.Errorf("after an answer, a stream is dead after %v", again[0])
		}
		p.Constant = true
		p.Heard(true)
		if same := replacements(p, time.Minute); slices.Max(same) > Silence+3*Tick {
			t.Errorf("with a constant patience, streams are dead after %v", same)
		}
		p.Opened()
		if ask, dead := p.Look(); ask || dead {
			t.Error("a stream that was just opened is asked, or dead")
		}
	})
}
