package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// To write the file that is wanted anew: go run . -from testdata/results.txt -out testdata, and delete the charts.
func TestTheReportSaysWhatTheResultsSay(t *testing.T) {
	dir := t.TempDir()
	if err := report(t.Context(), []string{"-from", "testdata/results.txt", "-out", dir}); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/RESULTS.md")
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, dir, "RESULTS.md"); got != string(want) {
		t.Errorf("RESULTS.md differs from testdata/RESULTS.md:\n%s", got)
	}
}

func TestTheSameResultsGiveTheSameCharts(t *testing.T) {
	var dirs [2]string
	for i := range dirs {
		dirs[i] = t.TempDir()
		if err := write("testdata/results.txt", dirs[i]); err != nil {
			t.Fatal(err)
		}
	}
	charts, err := filepath.Glob(filepath.Join(dirs[0], "*.svg"))
	if err != nil || len(charts) != 2 {
		t.Fatalf("charts %v, %v; want those of hand-overs and of keys", charts, err)
	}
	for name, wants := range map[string][]string{
		"hot.svg":  {"<svg", "concurrency.Mutex", "2 processes", ">1k<"},
		"keys.svg": {"<svg", "limit: put + delete", ">10k<", ">1M<", ">2.6<"},
	} {
		first := read(t, dirs[0], name)
		if first != read(t, dirs[1], name) {
			t.Errorf("two charts of the same results differ: %s", name)
		}
		for _, want := range wants {
			if !strings.Contains(first, want) {
				t.Errorf("%q is not in %s", want, name)
			}
		}
		if strings.Contains(first, "16 processes") || strings.Contains(first, ">100k<") {
			t.Errorf("%s shows what has no results", name)
		}
	}
}

func TestARunBecomesAReport(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs benchmarks")
	}
	dir := t.TempDir()
	args := []string{"-passes", "2", "-grown", "1", "-benchtime", "1x", "-scale", "0.001", "-run", "^(Pair|Keys)$", "-out", dir}
	if err := report(t.Context(), args); err != nil {
		t.Fatal(err)
	}
	got := read(t, dir, "RESULTS.md")
	for _, want := range []string{"| passes | 2 |", "## Pair", "| elock |", "| put+delete |", "keys=2000\n", "Only in 1 of the passes.", "-benchtime 1x . -scale 0.001\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in the report:\n%s", want, got)
		}
	}
}

func TestAFailedBenchmarkLeavesTheOldResults(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "results.txt")
	if err := os.WriteFile(name, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := create(name, func(w io.Writer) error {
		w.Write([]byte("new"))
		return context.Canceled
	})
	if err == nil {
		t.Error("no error")
	}
	if got := read(t, dir, "results.txt"); got != "old" {
		t.Errorf("results are %q", got)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}

// A renamed benchmark would otherwise leave a row of the table empty, which looks as if it had not run.
func TestGoalsAndChartsAreOfBenchmarksThatExist(t *testing.T) {
	exists := func(name string) bool {
		base, _, _ := strings.Cut(name, "/")
		return slices.ContainsFunc(plan, func(s step) bool { return s.name == base })
	}
	for _, g := range goals {
		for _, p := range []point{g.of, g.by} {
			if p != (point{}) && !exists(p.name) {
				t.Errorf("no benchmark %s", p.name)
			}
		}
	}
	for _, c := range charts {
		for _, g := range c.groups {
			if !exists(g.name) {
				t.Errorf("%s: no benchmark %s", c.file, g.name)
			}
		}
	}
	for _, s := range sweeps {
		if !exists(s.of) {
			t.Errorf("%s: no benchmark %s", s.file, s.of)
		}
	}
	for _, s := range plan {
		files, err := filepath.Glob(filepath.Join("..", s.dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(files, func(f string) bool {
			return strings.Contains(read(t, "", f), "func Benchmark"+s.name+"(b *testing.B)")
		}) {
			t.Errorf("no Benchmark%s in %s", s.name, s.dir)
		}
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
