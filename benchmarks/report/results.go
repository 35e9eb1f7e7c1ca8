package main

import (
	"errors"
	"io"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// A point is one thing measured: a benchmark, as "Pair/impl=elock", and a unit, as "sec/op". Units are benchfmt's: seconds
// and bytes, without prefixes.
type point struct{ name, unit string }

// results are all runs of all benchmarks.
type results struct {
	names   []string            // in the order of their first run
	runs    map[point][]float64 // in the order of the passes
	units   map[string][]string // of each benchmark, in its order
	machine map[string]string   // the facts above the first benchmark
}

// parse reads what go test prints, in the format of golang.org/x/perf/benchfmt.
func parse(r io.Reader, file string) (*results, error) {
	rs := &results{
		runs:    make(map[point][]float64),
		units:   make(map[string][]string),
		machine: make(map[string]string),
	}
	for in := benchfmt.NewReader(r, file); ; {
		if !in.Scan() {
			if err := in.Err(); err != nil {
				return nil, err
			}
			break
		}
		switch r := in.Result().(type) {
		case *benchfmt.SyntaxError:
			return nil, r
		case *benchfmt.Result:
			rs.add(r)
		}
	}
	if len(rs.names) == 0 {
		return nil, errors.New("no benchmarks in " + file)
	}
	return rs, nil
}

func (rs *results) add(r *benchfmt.Result) {
	if len(rs.names) == 0 {
		for _, c := range r.Config {
			rs.machine[c.Key] = string(c.Value)
		}
	}
	name := nameOf(r.Name)
	if rs.units[name] == nil {
		rs.names = append(rs.names, name)
	}
	for _, v := range r.Values {
		if !slices.Contains(rs.units[name], v.Unit) {
			rs.units[name] = append(rs.units[name], v.Unit)
		}
		p := point{name, v.Unit}
		rs.runs[p] = append(rs.runs[p], v.Value)
	}
}

// nameOf is a benchmark's name without the number of cores.
func nameOf(n benchfmt.Name) string {
	base, parts := n.Parts()
	var b strings.Builder
	b.Write(base)
	for _, p := range parts {
		if p[0] == '/' {
			b.Write(p)
		}
	}
	return b.String()
}

// split returns the benchmark without its implementation, and that.
func split(name string) (group, impl string) {
	group, impl, _ = strings.Cut(name, "/impl=")
	return group, impl
}

// median is 0 of no values.
func median(vs []float64) float64 {
	if len(vs) == 0 {
		return 0
	}
	vs = slices.Sorted(slices.Values(vs))
	n := len(vs)
	return (vs[(n-1)/2] + vs[n/2]) / 2
}

// A figure is a median, and the least and the greatest that it is of.
type figure struct{ median, least, greatest float64 }

// of returns what the passes say of p, and whether they say anything.
func (rs *results) of(p point) (figure, bool) { return summary(rs.runs[p]) }

// ratio returns how much greater a is than b. Its median is that of both sides, its limits are those of single passes, in
// which the two ran close to each other.
func (rs *results) ratio(a, b point) (figure, bool) {
	as, bs := rs.runs[a], rs.runs[b]
	var each []float64
	for i := range min(len(as), len(bs)) {
		if bs[i] != 0 {
			each = append(each, as[i]/bs[i])
		}
	}
	f, ok := summary(each)
	if ok && median(bs) != 0 {
		f.median = median(as) / median(bs)
	}
	return f, ok
}

func summary(vs []float64) (figure, bool) {
	if len(vs) == 0 {
		return figure{}, false
	}
	return figure{median(vs), slices.Min(vs), slices.Max(vs)}, true
}
