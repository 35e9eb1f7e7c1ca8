package lockertest_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/phpgao/elock"

// root is the module's directory.
const root = "../.."

func TestItWorksFromAModuleOutside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	abs, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	// The module's own requirements say which versions there are without a
	// network.
	mod := strings.Replace(string(read(t, filepath.Join(root, "go.mod"))), "module "+module+"\n", "module example.com/outside\n", 1)
	mod += "\nrequire " + module + " v0.0.0\nreplace " + module + " => " + abs + "\n"
	write(t, filepath.Join(dir, "go.mod"), []byte(mod))
	write(t, filepath.Join(dir, "go.sum"), read(t, filepath.Join(root, "go.sum")))
	example := bytes.Replace(read(t, "example_test.go"), []byte("package lockertest_test"), []byte("package outside"), 1)
	write(t, filepath.Join(dir, "outside_test.go"), example)

	cmd := exec.CommandContext(t.Context(), "go", "test", "-v", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestRebuildStopsWhenItsLockIsLost") {
		t.Errorf("%v: %v\n%s", cmd, err, out)
	}
}

func TestItDragsInNothingOfAServer(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	heavy := []string{"go.etcd.io/etcd/server", "go.etcd.io/raft", "go.etcd.io/bbolt", module + "/internal/etcdtest"}
	for _, dep := range deps {
		if slices.ContainsFunc(heavy, func(h string) bool { return strings.HasPrefix(dep+"/", h+"/") }) {
			t.Errorf("it drags in %s", dep)
		}
	}
	if !slices.Contains(deps, module+"/locker") {
		t.Errorf("go list says %q", deps)
	}
}

func TestTheDocumentationShowsTheExampleAsItIs(t *testing.T) {
	t.Parallel()
	_, example, ok := strings.Cut(string(read(t, "example_test.go")), "says the same.\n")
	if !ok {
		t.Fatal("the example has no such comment")
	}
	doc := regexp.MustCompile(`(?m)^//\t?`).ReplaceAllString(string(read(t, "doc.go")), "")
	if !strings.Contains(doc, strings.TrimSpace(example)) {
		t.Errorf("doc.go does not contain:\n%s", example)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
