package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// markdown is RESULTS.md.
func markdown(rs *results, drawn []picture) []byte {
	var b strings.Builder
	b.WriteString("# Results\n\nWritten by `benchmarks/report` from [results.txt](results.txt); `benchstat -ignore pass -col /impl results.txt` reads that too.\n" +
		"What the benchmarks measure, and how to run them, is in [doc.go](doc.go). Figures are medians of the passes. \"passes\" is how far the\n" +
		"least and the greatest are from it, and \"elock is\" how many times as fast elock is, below 1 slower.\n\n")
	facts(&b, rs)
	for _, p := range drawn {
		fmt.Fprintf(&b, "![%s](%s)\n\n", p.name().title, p.name().file)
	}
	table(&b, rs)
	for _, s := range plan {
		s.section(&b, rs)
	}
	return []byte(strings.TrimRight(b.String(), "\n") + "\n")
}

// facts tells what the results were taken on.
func facts(b *strings.Builder, rs *results) {
	b.WriteString("| on | |\n|---|---|\n")
	for _, f := range []struct{ key, name string }{
		{"cpu", "processor"}, {"cores", "cores, for clients and servers together"}, {"memory", "memory"}, {"system", "system"},
		{"disk", "disk"}, {"go", "Go"}, {"commit", "elock, at commit"}, {"etcd", "etcd"}, {"etcd-client", "etcd's client, with `concurrency`"},
		{"redis", "Redis"}, {"redislock", "bsm/redislock"}, {"redsync", "go-redsync/redsync"}, {"rueidis", "rueidis/rueidislock"},
	} {
		if v := rs.machine[f.key]; v != "" {
			fmt.Fprintf(b, "| %s | %s |\n", f.name, v)
		}
	}
	fmt.Fprintf(b, "| passes | %d |\n\n", rs.passes(""))
}

// passes returns how many there are of the benchmarks whose names begin so.
func (rs *results) passes(prefix string) (n int) {
	for of, runs := range rs.runs {
		if strings.HasPrefix(of.name, prefix) {
			n = max(n, len(runs))
		}
	}
	return n
}

// table is that of the goals.
func table(b *strings.Builder, rs *results) {
	b.WriteString("## Wanted and reached\n\nMedians of all passes, which say whether it holds, and in brackets what single passes said.\n\n" +
		"| work | against | measure | wanted | reached | passes | |\n|---|---|---|---:|---:|---:|---|\n")
	for _, g := range goals {
		write := times
		if g.unit != "" {
			write = func(v float64) string { return format(v, g.unit) }
		}
		bound, reached, spread, holds := "≥ "+write(g.bound), "not measured", "", ""
		if g.most {
			bound = "≤ " + write(g.bound)
		}
		if f, ok := g.reached(rs); ok {
			reached, spread, holds = "**"+write(f.median)+"**", "["+write(f.least)+", "+write(f.greatest)+"]", "missed"
			if g.holds(f) {
				holds = "holds"
			}
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s |\n", g.work, g.against, g.means, bound, reached, spread, holds)
	}
	b.WriteString("\n")
}

// section has all figures of one benchmark.
func (s step) section(b *strings.Builder, rs *results) {
	var groups []string
	for _, name := range rs.names {
		if g, _ := split(name); (g == s.name || strings.HasPrefix(g, s.name+"/")) && !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	if len(groups) == 0 {
		return
	}
	where := "benchmarks"
	if s.dir != "." {
		where += "/" + s.dir
	}
	scale := ""
	if s.grows {
		scale = " -scale " + cmp.Or(rs.machine["scale"], "1")
	}
	fewer := ""
	if n := rs.passes(groups[0]); n < rs.passes("") {
		fewer = fmt.Sprintf(" Only in %d of the passes.", n)
	}
	fmt.Fprintf(b, "## %s\n\n%s%s\n\n    cd %s && go test -run '^$' -bench '^Benchmark%s$' -benchtime %s .%s\n\n",
		s.name, s.about, fewer, where, s.name, cmp.Or(rs.machine["benchtime"], s.benchtime), scale)
	for _, g := range groups {
		rs.group(b, g)
	}
}

// group is the table of one work: an implementation in each line.
func (rs *results) group(b *strings.Builder, group string) {
	var impls, units []string
	for _, name := range rs.names {
		g, impl := split(name)
		if g != group {
			continue
		}
		impls = append(impls, impl)
		for _, u := range rs.units[name] {
			if !slices.Contains(units, u) {
				units = append(units, u)
			}
		}
	}
	best := mainUnit(units)
	units = slices.DeleteFunc(units, func(u string) bool { return u == best || u == "sec/op" })
	units = append([]string{best}, units...)

	if _, axis, ok := strings.Cut(group, "/"); ok {
		fmt.Fprintf(b, "%s\n\n", strings.ReplaceAll(axis, "/", ", "))
	}
	b.WriteString("| |")
	for i, u := range units {
		b.WriteString(" " + header(u) + " |")
		if i == 0 {
			b.WriteString(" passes | elock is |")
		}
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|", len(units)+2) + "\n")
	for _, impl := range impls {
		fmt.Fprintf(b, "| %s |", impl)
		for i, u := range units {
			p := point{group + "/impl=" + impl, u}
			f, ok := rs.of(p)
			if !ok {
				b.WriteString(" |")
			} else {
				fmt.Fprintf(b, " %s |", format(f.median, u))
			}
			if i == 0 {
				fmt.Fprintf(b, " %s | %s |", spread(f), rs.faster(group, impl, u))
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}

// mainUnit is the one by which implementations are compared.
func mainUnit(units []string) string {
	for _, u := range []string{"handovers/s", "locks/s"} {
		if slices.Contains(units, u) {
			return u
		}
	}
	return "sec/op"
}

// spread is how far single passes were from the median.
func spread(f figure) string {
	if f.median == 0 {
		return ""
	}
	return fmt.Sprintf("−%.0f%% +%.0f%%", 100*(1-f.least/f.median), 100*(f.greatest/f.median-1))
}

// faster tells how much faster elock is than impl.
func (rs *results) faster(group, impl, unit string) string {
	elock, other := point{group + "/impl=elock", unit}, point{group + "/impl=" + impl, unit}
	if unit == "sec/op" {
		elock, other = other, elock
	}
	if f, ok := rs.ratio(elock, other); ok && impl != "elock" {
		return times(f.median)
	}
	return ""
}
