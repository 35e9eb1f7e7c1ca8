package once_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/phpgao/elock/once"
)

func TestATickIsTheNearestMultipleOfItsPeriod(t *testing.T) {
	t.Parallel()
	berlin := time.FixedZone("CET", 3600)
	for _, row := range []struct {
		at    string
		every time.Duration
		want  string
	}{
		{"2026-11-27T12:00:00Z", time.Hour, "2026-11-27T12:00:00.000Z"},
		{"2026-11-27T11:59:59.9Z", time.Hour, "2026-11-27T12:00:00.000Z"},
		{"2026-11-27T12:29:59.999999999Z", time.Hour, "2026-11-27T12:00:00.000Z"},
		{"2026-11-27T12:30:00Z", time.Hour, "2026-11-27T13:00:00.000Z"}, // the border belongs to the next
		{"2026-11-27T11:30:00Z", time.Hour, "2026-11-27T12:00:00.000Z"},
		{"2026-12-31T23:59:59Z", 5 * time.Minute, "2027-01-01T00:00:00.000Z"},
		{"2026-11-27T12:00:00.2Z", 250 * time.Millisecond, "2026-11-27T12:00:00.250Z"},
		{"2026-11-27T12:00:00.0015Z", 1500 * time.Microsecond, "2026-11-27T12:00:00.001Z"},
		{"2026-11-27T03:00:00+01:00", 24 * time.Hour, "2026-11-27T00:00:00.000Z"},
		{"2026-11-27T12:00:00Z", 7 * 24 * time.Hour, "2026-11-30T00:00:00.000Z"}, // a Monday
		{"0001-01-01T00:00:00Z", time.Hour, "0001-01-01T00:00:00.000Z"},
		{"9999-12-31T23:00:00Z", time.Hour, "9999-12-31T23:00:00.000Z"},
		{"9999-12-31T23:30:00Z", time.Hour, ""},
		{"2026-11-27T12:00:00Z", 0, ""},
		{"2026-11-27T12:00:00Z", -time.Hour, ""},
		{"2026-11-27T12:00:00Z", time.Millisecond - 1, ""},
	} {
		at, err := time.Parse(time.RFC3339Nano, row.at)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []time.Time{at, at.In(berlin), at.Local()} {
			if got := once.At(at, row.every); got != row.want {
				t.Errorf("At(%v, %v) = %q, want %q", at, row.every, got, row.want)
			}
		}
	}
	if got := once.At(time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), time.Hour); got != "" {
		t.Errorf("a year before the first has the tick %q", got)
	}
}

func TestReplicasWhoseClocksAreWrongByLessThanHalfAPeriodAgree(t *testing.T) {
	t.Parallel()
	d := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		every := time.Duration(1+d.IntN(1e6)) * time.Millisecond
		start := time.Unix(1_800_000_000, d.Int64N(1e9)).Round(every)
		want := once.At(start, every)
		half := int64(every / 2)
		skew := time.Duration(d.Int64N(2*half) - half)
		if got := once.At(start.Add(skew), every); got != want {
			t.Fatalf("every %v, skew %v: got %s, want %s", every, skew, got, want)
		}
	}
}

func TestTicksSortAsTheirTimesDoAcrossPeriods(t *testing.T) {
	t.Parallel()
	d := rand.New(rand.NewPCG(3, 4))
	for range 10_000 {
		every := time.Duration(1+d.IntN(1e6)) * time.Millisecond
		other := time.Duration(1+d.IntN(1e6)) * time.Millisecond
		a := time.Unix(d.Int64N(200_000_000_000), d.Int64N(1e9))
		b := a.Add(every).Add(other).Add(time.Duration(d.Int64N(1e18)))
		if x, y := once.At(a, every), once.At(b, other); x >= y {
			t.Fatalf("%s is not before %s", x, y)
		}
		if x, y := once.At(a, every), once.At(a.Add(every), every); x >= y {
			t.Fatalf("%s is not before the next, %s", x, y)
		}
	}
}
