package elock_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/phpgao/elock"

// A pkg is what go list says of a package.
type pkg struct {
	ImportPath string
	Standard   bool
	Module     *struct{ Path string }
	Imports    []string // without those of its tests
	Deps       []string // of itself and of all it imports
}

// list returns packages, and all they depend on, by import path.
func list(t *testing.T, patterns ...string) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-deps", "-json=ImportPath,Standard,Module,Imports,Deps"}, patterns...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, &stderr)
	}
	all := make(map[string]pkg)
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

func TestThePublicPackagesDragInNothingHeavy(t *testing.T) {
	t.Parallel()
	heavy := []string{
		"testing",
		"go.etcd.io/etcd/server",
		"go.etcd.io/raft",
		"go.etcd.io/bbolt",
		"go.opentelemetry.io/otel/sdk",
		module + "/internal/etcdtest",
	}
	all := list(t, ".", "./keyspace", "./locker", "./guard")
	for _, name := range []string{module, module + "/keyspace", module + "/locker", module + "/guard"} {
		for _, dep := range all[name].Deps {
			if slices.ContainsFunc(heavy, func(h string) bool { return strings.HasPrefix(dep+"/", h+"/") }) {
				t.Errorf("%s drags in %s", name, dep)
			}
		}
	}
	if len(all[module+"/locker"].Deps) == 0 {
		t.Error("go list says that locker depends on nothing")
	}
}

func TestThePublicPackagesImportOnlyFewModules(t *testing.T) {
	t.Parallel()
	allowed := []string{
		module,
		"go.etcd.io/etcd/client/v3",
		"go.etcd.io/etcd/api/v3",
		"go.opentelemetry.io/otel",
		"go.opentelemetry.io/otel/trace",
		"go.opentelemetry.io/otel/metric",
		"golang.org/x/sync",
	}
	all := list(t, "./...")
	public := 0
	for name, p := range all {
		path, ours := strings.CutPrefix(name, module)
		if !ours || path != "" && path[0] != '/' || slices.ContainsFunc([]string{"/internal/", "/examples/", "/benchmarks"}, func(s string) bool {
			return strings.HasPrefix(path, s)
		}) {
			continue
		}
		public++
		for _, imported := range p.Imports {
			i, known := all[imported]
			switch {
			case known && i.Standard:
			case known && i.Module != nil && slices.Contains(allowed, i.Module.Path):
			default:
				t.Errorf("%s imports %s", name, imported)
			}
		}
	}
	if public < 4 {
		t.Errorf("found %d public packages", public)
	}
}

// A name costs nobody the client of etcd.
func TestPackageKeyspaceImportsTheStandardLibraryOnly(t *testing.T) {
	t.Parallel()
	for name, p := range list(t, "./keyspace") {
		if name != module+"/keyspace" && !p.Standard {
			t.Errorf("keyspace depends on %s", name)
		}
	}
}
