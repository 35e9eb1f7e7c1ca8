package feed

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/phpgao/elock/internal/watchstream"
)

func TestAStreamThatPlacesNoWatchIsReplaced(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		f := b.Open("key")
		defer f.Close()
		synctest.Wait()
		b.set(func() { b.mute[b.names[0]] = true })
		other := b.Open("other")
		defer other.Close()
		time.Sleep(patience - time.Millisecond)
		if s := read(f); s.Since == 0 {
			t.Error("the first watch ended before its time")
		}
		time.Sleep(time.Second)
		if read(f).Since == 0 || read(other).Since == 0 {
			t.Error("a watch is not in place")
		}
		if running, streams, _ := b.counts(); running != 2 || streams != 2 {
			t.Errorf("%d watches run, %d streams", running, streams)
		}
		if b.delete("key"); read(f).Deleted("key") == 0 {
			t.Error("the first watch stays on the mute stream")
		}
	})
}

func TestAStreamOnWhichWatchesAreRefusedIsReplacedOnceForAll(t *testing.T) {
	for name, fault := range map[string]func(b *bed, on bool){
		"before they are in place": func(b *bed, on bool) { b.refuse = on },
		"for a token":              func(b *bed, on bool) { b.dead = on },
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, func(t *testing.T, b *bed) {
				b.set(func() { fault(b, true); b.latency = time.Millisecond })
				var feeds []*Feed
				for i := range 50 {
					f := b.Open(fmt.Sprint(i))
					defer f.Close()
					feeds = append(feeds, f)
				}
				time.Sleep(2 * time.Millisecond)
				if _, streams, opened := b.counts(); streams != 1 || opened != 50 {
					t.Errorf("%d watches on %d streams", opened, streams)
				}
				b.set(func() { fault(b, false) })
				time.Sleep(firstPause)
				for _, f := range feeds {
					if read(f).Since == 0 {
						t.Error("a watch is not in place")
					}
				}
				if running, streams, _ := b.counts(); running != 50 || streams != 2 {
					t.Errorf("%d watches run; %d streams", running, streams)
				}
			})
		})
	}
}

func TestAStreamThatIsSilentIsReplaced(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		f := b.Open("key")
		defer f.Close()
		time.Sleep(4*time.Second + time.Second/2) // it answers probes
		b.set(func() { b.mute[b.names[0]] = true })
		b.delete("key")
		time.Sleep(2*watchstream.Tick + watchstream.Silence + 2*watchstream.Tick)
		if s := read(f); s.Since == 0 || s.Since < b.rev {
			t.Errorf("it is trusted: %+v", s)
		}
		if running, streams, _ := b.counts(); running != 1 || streams != 2 {
			t.Errorf("%d watches run; %d streams", running, streams)
		}
	})
}

func TestAStreamThatNeverAnswersAProbeIsReplacedLessAndLessOften(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		b.set(func() { b.noProbe = true })
		f := b.Open("key")
		defer f.Close()
		time.Sleep(watchstream.Unproven)
		if _, streams, _ := b.counts(); streams != 1 {
			t.Errorf("replaced after %v", watchstream.Unproven)
		}
		time.Sleep(4 * time.Second)
		if _, streams, _ := b.counts(); streams != 2 {
			t.Errorf("%d streams after %v", streams, watchstream.Unproven+4*time.Second)
		}
		for range 100 { // it does not, as long as it tells of changes
			b.delete("key")
			time.Sleep(time.Second / 2)
		}
		if _, streams, _ := b.counts(); streams != 2 {
			t.Errorf("%d streams, though it told of changes", streams)
		}
		time.Sleep(time.Minute)
		if _, streams, _ := b.counts(); streams != 3 {
			t.Errorf("%d streams after another minute", streams)
		}
		time.Sleep(10 * time.Minute) // a watch lasts no longer than the limit now, and when the next is in place that is a sign of life
		if _, streams, _ := b.counts(); streams != 3 {
			t.Errorf("%d streams after ten minutes", streams)
		}
		b.delete("key")
		if s := read(f); s.Deleted("key") != b.rev {
			t.Errorf("it has missed a change: %+v", s)
		}
	})
}

func TestNothingIsProbedWithoutAFeed(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, _, _ = b.First(ctx, "key", 1)
		if n := b.probes(); n != 0 {
			t.Errorf("%d probes", n)
		}
		for range 3 { // each time it begins anew
			f := b.Open("key")
			time.Sleep(10 * time.Second)
			f.Close()
			time.Sleep(10 * time.Second)
			asked := b.probes()
			time.Sleep(time.Minute)
			if later := b.probes(); later != asked || asked == 0 {
				t.Errorf("%d probes, then %d", asked, later)
			}
			b.set(func() { b.asked = 0 })
		}
	})
}
