package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// format writes v, of a unit as in benchfmt, with three digits that count.
func format(v float64, unit string) string {
	base, _, _ := strings.Cut(unit, "/")
	switch {
	case base == "sec" || strings.HasSuffix(base, "-sec"):
		for _, scale := range []struct {
			name string
			of   float64
		}{{"s", 1}, {"ms", 1e-3}, {"µs", 1e-6}} {
			if v >= scale.of {
				return digits(v/scale.of) + " " + scale.name
			}
		}
		return digits(v*1e9) + " ns"
	case base == "B" || strings.HasSuffix(base, "-B"):
		if v >= 1<<20 {
			return digits(v/(1<<20)) + " MiB"
		}
		if v >= 1024 {
			return digits(v/1024) + " KiB"
		}
		return digits(v) + " B"
	}
	return digits(v)
}

// times writes a ratio.
func times(v float64) string { return digits(v) + "×" }

// digits writes v with three digits that count, and commas between thousands.
func digits(v float64) string {
	switch abs := math.Abs(v); {
	case v == 0:
		return "0"
	case abs < 0.0005:
		return "<0.001"
	case abs < 0.0995:
		return strconv.FormatFloat(v, 'f', 3, 64)
	case abs < 9.995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case abs < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	scale := math.Pow(10, math.Max(0, math.Floor(math.Log10(math.Abs(v)))-2))
	s := fmt.Sprintf("%.0f", math.Round(v/scale)*scale)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// header names a unit above a column.
func header(unit string) string {
	switch unit {
	case "sec/op":
		return "time"
	case "p50-sec", "p99-sec", "handover-p50-sec", "handover-p99-sec", "first-p50-sec", "last-p50-sec", "enter-sec", "leave-sec":
		return strings.ReplaceAll(strings.TrimSuffix(unit, "-sec"), "-", " ")
	case "limit-sec":
		return "limit"
	case "x-limit":
		return "limits"
	case "x-first":
		return "last/first"
	case "heap-begin-B", "heap-end-B", "etcd-begin-B", "etcd-end-B", "db-begin-B", "db-end-B":
		what, when, _ := strings.Cut(strings.TrimSuffix(unit, "-B"), "-")
		return map[string]string{"heap": "heap", "etcd": "etcd's memory", "db": "etcd's file"}[what] + " at " + when
	case "heap-B/hold":
		return "heap/hold"
	case "memory-B/waiter", "memory-B/locker":
		return strings.Replace(unit, "-B", "", 1)
	case "idle-sent/s/locker":
		return "sent/s/locker when idle"
	case "B/op":
		return "bytes"
	case "allocs/op":
		return "allocations"
	case "idle-sent/s":
		return "sent/s when idle"
	}
	return unit
}
