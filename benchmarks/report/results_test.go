package main

import (
	"math"
	"strings"
	"testing"
)

func results3(t *testing.T) *results {
	t.Helper()
	rs, err := parse(strings.NewReader(`
BenchmarkPair/impl=mutex-each-2  10  100 ns/op
BenchmarkPair/impl=elock-2       10   50 ns/op  5.00 p50-ns
BenchmarkPair/impl=mutex-each-2  10  400 ns/op
BenchmarkPair/impl=elock-2       10  100 ns/op  7.00 p50-ns
BenchmarkPair/impl=mutex-each-2  10  200 ns/op
BenchmarkPair/impl=elock-2       10   25 ns/op  6.00 p50-ns
`), "results")
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-12 }

func TestAMedianIsOfAllPasses(t *testing.T) {
	rs := results3(t)
	f, ok := rs.of(point{"Pair/impl=elock", "sec/op"})
	if !ok || !near(f.median, 50e-9) || !near(f.least, 25e-9) || !near(f.greatest, 100e-9) {
		t.Errorf("%+v, %t", f, ok)
	}
	if f, _ := rs.of(point{"Pair/impl=elock", "p50-sec"}); !near(f.median, 6e-9) {
		t.Errorf("%+v", f)
	}
	if _, ok := rs.of(point{"Pair/impl=other", "sec/op"}); ok {
		t.Error("found what was not measured")
	}
	if n := rs.passes(""); n != 3 {
		t.Errorf("%d passes", n)
	}
	for _, c := range []struct {
		of   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{4, 2}, 3}, {[]float64{9, 1, 5}, 5}} {
		if got := median(c.of); got != c.want {
			t.Errorf("median of %v is %v", c.of, got)
		}
	}
}

func TestARatioIsOfMediansAndItsLimitsAreOfSinglePasses(t *testing.T) {
	rs := results3(t)
	f, ok := rs.ratio(point{"Pair/impl=mutex-each", "sec/op"}, point{"Pair/impl=elock", "sec/op"})
	if !ok || !near(f.median, 4) || !near(f.least, 2) || !near(f.greatest, 8) {
		t.Errorf("%+v, %t", f, ok)
	}
	if _, ok := rs.ratio(point{"Pair/impl=elock", "sec/op"}, point{"Pair/impl=other", "sec/op"}); ok {
		t.Error("a ratio to what was not measured")
	}
}

func TestAGoalHoldsOnTheRightSideOfItsBound(t *testing.T) {
	for _, c := range []struct {
		most         bool
		bound, value float64
		want         bool
	}{
		{false, 4, 4, true}, {false, 4, 3.99, false}, {true, 1.1, 1.1, true}, {true, 1.1, 1.11, false},
	} {
		if got := (goal{most: c.most, bound: c.bound}).holds(figure{median: c.value}); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}

func TestResultsThatAreNoneAreAnError(t *testing.T) {
	for _, text := range []string{"", "PASS\n", "BenchmarkPair x y\n"} {
		if _, err := parse(strings.NewReader(text), "results"); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestFiguresHaveThreeDigits(t *testing.T) {
	for _, c := range []struct {
		value float64
		unit  string
		want  string
	}{
		{0, "locks/s", "0"}, {0.0001, "sent/lock", "<0.001"}, {0.0456, "sent/lock", "0.046"}, {2, "sent/lock", "2.00"},
		{9.996, "", "10.0"}, {99.96, "", "100"}, {1234.5, "locks/s", "1,230"}, {12345678, "locks/s", "12,300,000"},
		{1.5, "sec/op", "1.50 s"}, {0.0123, "p50-sec", "12.3 ms"}, {456e-6, "sec/op", "456 µs"}, {14e-9, "sec/op", "14.0 ns"},
		{512, "heap-B/hold", "512 B"}, {1536, "heap-B/hold", "1.50 KiB"}, {-2, "goroutines", "-2.00"}, {-1234, "", "-1,230"},
	} {
		if got := format(c.value, c.unit); got != c.want {
			t.Errorf("%v %s is written %q, want %q", c.value, c.unit, got, c.want)
		}
	}
	for v, want := range map[float64]string{5: "5", 22.34: "22.3", 999: "999", 1234: "1.23k", 28_100: "28.1k", 1.5e6: "1.5M"} {
		if got := short(v); got != want {
			t.Errorf("%v is written short %q, want %q", v, got, want)
		}
	}
}
