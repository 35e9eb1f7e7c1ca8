package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/etcdtest/member"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		exitOn(play(role))
		return
	}
	os.Exit(m.Run())
}

// tolerance is for clocks that Jaeger keeps in microseconds, and for the time
// between the end of a span and that of what it describes.
const tolerance = 5 * time.Millisecond

// The example runs once, and what Jaeger then tells is looked at from all sides.
func TestJaegerShowsTheContention(t *testing.T) {
	ctx := context.Background()
	jaeger, err := startJaeger(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer jaeger.stop()
	etcd, err := member.Launch(ctx, member.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer etcd.Stop()
	reports, err := contend(ctx, etcd.Endpoint(), jaeger.otlp)
	if err != nil {
		t.Fatal(err)
	}
	acquires, blocked := 0, 0
	for _, r := range reports {
		acquires += r.Acquires
		blocked += r.Blocked
	}
	all := arrived(t, jaeger.ui, acquires)

	t.Run("every blocked acquire leads to the hold of the owner that blocked it", func(t *testing.T) {
		leadsToBlockers(t, all, blocked)
	})
	t.Run("the lost hold is an error and the others are not", func(t *testing.T) {
		for _, h := range named(all, "elock.hold") {
			got := fmt.Sprint(h.tag("elock.outcome"), " ", h.tag("error"), " ", h.tag("error.type"))
			want := "released  "
			switch title := parent(all, h).Name; {
			case title == "correct the stock":
				want = "lost true lease_expired"
			case title == "nightly report":
				want = "max_held true max_held"
			}
			if got != want {
				t.Errorf("a hold of %s: %q, want %q", h.tag("elock.key"), got, want)
			}
		}
	})
	t.Run("the timeout follows the hold that was too long", func(t *testing.T) {
		timeouts := named(all, "elock.timeout")
		if len(timeouts) != 1 {
			t.Fatalf("%d timeouts", len(timeouts))
		}
		timeout := timeouts[0]
		hold := parent(all, timeout)
		if hold.Name != "elock.hold" || hold.tag("elock.outcome") != "max_held" {
			t.Errorf("it is under %s, %s", hold.Name, hold.tag("elock.outcome"))
		}
		if seconds(t, timeout, "elock.held") < seconds(t, timeout, "elock.limit") || timeout.start() < hold.end() {
			t.Errorf("too early: %+v after %+v", timeout, hold)
		}
	})
	t.Run("durations add up", func(t *testing.T) { addsUp(t, all) })
}

func leadsToBlockers(t *testing.T, all map[string]*span, blocked int) {
	found, links, local := 0, 0, 0
	for _, a := range named(all, "elock.acquire") {
		blockers := a.blockers()
		if len(blockers) == 0 {
			continue
		}
		found++
		var follows []*span
		for _, r := range a.References {
			if r.RefType == "FOLLOWS_FROM" {
				follows = append(follows, all[r.SpanID])
			}
		}
		if len(follows) != len(blockers) {
			t.Errorf("%d links, %d owners ahead", len(follows), len(blockers))
			continue
		}
		for i, by := range blockers {
			links++
			s := follows[i]
			switch {
			case s == nil:
				t.Errorf("a link to a span that Jaeger does not have")
			case s.Name != "elock.acquire" || s.service != by.owner || s.tag("elock.key") != a.tag("elock.key"):
				t.Errorf("a link to %s of %s, blocked by %+v", s.Name, s.service, by)
			case by.token != "" && s.tag("elock.token") != by.token:
				t.Errorf("a link to token %s, blocked by %+v", s.tag("elock.token"), by)
			case holdOf(all, s) == nil:
				t.Errorf("no hold in the trace of %+v", by)
			case a.end()+tolerance < letGo(all, holdOf(all, s)) && s.tag("elock.key") != lostKey.String(): // its loser learns of it later
				t.Errorf("granted before %+v let go", by)
			}
			if by.owner == a.service {
				local++
			}
		}
	}
	t.Logf("%d acquires were blocked, with %d links, %d of them within a process", found, links, local)
	if found != blocked || blocked < 20 || local == 0 || local == links {
		t.Errorf("Jaeger shows %d blocked acquires; the processes counted %d", found, blocked)
	}
}

// holdOf returns the hold that an acquire became: in its trace, with its token.
func holdOf(all map[string]*span, acquire *span) *span {
	for _, h := range named(all, "elock.hold") {
		if h.TraceID == acquire.TraceID && h.tag("elock.token") == acquire.tag("elock.token") {
			return h
		}
	}
	return nil
}

// letGo is when a holder let go. Its span ends later, when etcd has answered, and
// the next one may have the lock by then.
func letGo(all map[string]*span, hold *span) time.Duration {
	for _, w := range named(all, "work") {
		if parent(all, w) == hold {
			return w.end()
		}
	}
	return hold.end()
}

func parent(all map[string]*span, s *span) *span {
	for _, r := range s.References {
		if r.RefType == "CHILD_OF" && all[r.SpanID] != nil {
			return all[r.SpanID]
		}
	}
	return &span{}
}

// rounding is how far apart two ends may seem that are one: Jaeger has a start and a duration, each in whole microseconds.
const rounding = time.Microsecond

// addsUp checks that acquire and hold follow each other, and fill their parents.
func addsUp(t *testing.T, all map[string]*span) {
	for _, a := range named(all, "elock.acquire") {
		h := holdOf(all, a)
		if h.start() < a.end()-rounding {
			t.Errorf("the hold begins %v before its acquire ends", a.end()-h.start())
		}
		waited := time.Duration(seconds(t, h, "elock.wait") * float64(time.Second))
		if took := a.end() - a.start(); waited > took+tolerance || waited < took-tolerance {
			t.Errorf("the acquire took %v, the hold says %v", took, waited)
		}
		request := parent(all, a)
		if request.Name == "" { // without a span of the caller's
			if parent(all, h) != a {
				t.Errorf("acquire and hold are apart")
			}
			continue
		}
		if parent(all, h) != request || request.start() > a.start() || request.end() < h.end()-rounding {
			t.Errorf("%s does not span its lock", request.Name)
		}
	}
	for _, w := range named(all, "work") {
		if h := parent(all, w); h.Name != "elock.hold" || w.start() < h.start() || w.end() > h.end()+rounding {
			t.Errorf("the work is under %q, and not within it", h.Name)
		}
	}
}

func seconds(t *testing.T, s *span, key string) float64 {
	v, err := strconv.ParseFloat(s.tag(key), 64)
	if err != nil {
		t.Fatalf("%s of %s: %v", key, s.Name, err)
	}
	return v
}
