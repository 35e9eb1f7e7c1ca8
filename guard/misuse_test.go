package guard_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestAWrongKeyTypeAndAWrongValueTypeDoNotCompile(t *testing.T) {
	t.Parallel()
	src, err := os.ReadFile(filepath.Join("testdata", "misuse", "misuse.go"))
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[int]string) // by line
	line := 0
	for text := range strings.Lines(string(src)) {
		line++
		if _, comment, ok := strings.Cut(strings.TrimSpace(text), "// want: "); ok {
			want[line] = comment
		}
	}
	// -e: all errors, not only the first ten.
	out, err := exec.CommandContext(t.Context(), "go", "build", "-gcflags=-e", "./testdata/misuse").CombinedOutput()
	if err == nil {
		t.Fatal("it compiles")
	}
	wrong := maps.Clone(want)
	for _, found := range regexp.MustCompile(`(?m)misuse\.go:(\d+):\d+: (.*)$`).FindAllStringSubmatch(string(out), -1) {
		line, _ := strconv.Atoi(found[1])
		if why, ok := want[line]; !ok || !regexp.MustCompile(why).MatchString(found[2]) {
			t.Errorf("line %d: %s; want %q", line, found[2], why)
		}
		delete(wrong, line)
	}
	for line, why := range wrong {
		t.Errorf("line %d compiles, want %q", line, why)
	}
	if t.Failed() {
		t.Logf("go build said:\n%s", out)
	}
}
