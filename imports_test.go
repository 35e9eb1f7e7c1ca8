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
		module + "/internal/etcdsim",
	}
	all := list(t, ".", "./keyspace", "./locker", "./guard", "./once", "./election")
	for _, name := range []string{module, module + "/keyspace", module + "/locker", module + "/guard", module + "/once", module + "/election"} {
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

// floors are the packages that programs run and those that tests share, and what each imports of the others: only what is above it in this table.
var floors = []struct {
	name    string
	imports []string
}{
	{"keyspace", nil},
	{"internal/clock", nil},
	{"internal/index", nil},
	{"internal/waits", nil},
	{"internal/xctx", []string{"internal/clock"}},
	{"internal/etcderr", nil},
	{"internal/health", []string{"internal/clock"}},
	{"internal/watchstream", nil},
	{"internal/batch", []string{"internal/clock", "internal/etcderr", "internal/xctx", "keyspace"}},
	{"internal/renewal", []string{"internal/clock", "internal/xctx"}},
	{"internal/lease", []string{"internal/clock", "internal/etcderr", "internal/renewal", "internal/xctx"}},
	{"internal/keywatch", []string{"internal/watchstream", "internal/xctx"}},
	{"internal/feed", []string{"internal/watchstream", "internal/xctx"}},
	{"internal/losswatch", []string{"internal/etcderr", "internal/feed", "internal/keywatch", "internal/xctx"}},
	{"internal/latewrite", []string{"internal/etcderr", "internal/xctx"}},
	{"internal/lane", []string{"keyspace"}},
	{"internal/callback", nil},
	{"internal/record", nil},
	{"internal/calls", []string{"internal/batch", "internal/clock", "internal/etcderr", "internal/health", "internal/watchstream", "internal/xctx"}},
	{"internal/place", []string{"internal/batch", "internal/calls", "internal/etcderr", "internal/feed", "internal/record", "internal/xctx", "keyspace"}},
	{"internal/queue", []string{"internal/batch", "internal/calls", "internal/etcderr", "internal/latewrite", "internal/lease", "internal/place", "internal/record", "internal/xctx", "keyspace"}},
	{"internal/outcome", []string{"internal/batch", "internal/calls", "internal/queue", "internal/record", "internal/xctx"}},
	{"internal/optimistic", []string{"internal/batch", "internal/calls", "internal/record", "internal/xctx", "keyspace"}},
	{"internal/linger", []string{"internal/calls", "internal/feed", "internal/place", "internal/queue", "internal/record", "internal/xctx"}},
	{"internal/inspect", []string{"internal/calls", "internal/feed", "internal/place", "internal/queue", "internal/record", "internal/xctx", "keyspace"}},
	{"internal/retain", []string{"internal/batch", "internal/clock", "internal/feed", "internal/queue", "internal/record", "internal/xctx"}},
	{"internal/entry", []string{"internal/batch", "internal/calls", "internal/clock", "internal/lane", "internal/lease", "internal/place", "internal/queue", "internal/record", "internal/retain", "internal/xctx", "keyspace"}},
	{"locker", []string{"internal/batch", "internal/callback", "internal/calls", "internal/clock", "internal/entry", "internal/feed", "internal/health", "internal/index", "internal/inspect", "internal/keywatch",
		"internal/lease", "internal/linger", "internal/losswatch", "internal/optimistic", "internal/outcome", "internal/place", "internal/queue", "internal/record", "internal/retain", "internal/waits", "internal/xctx", "keyspace"}},
	{"guard", []string{"internal/etcderr", "internal/optimistic", "internal/watchstream", "internal/xctx", "keyspace", "locker"}},
	{"once", []string{"keyspace", "locker"}},
	{"election", []string{"guard", "keyspace", "locker"}},
	{"otelhook", []string{"locker"}},
	{"", []string{"keyspace", "locker"}},

	// What tests share. Nothing above imports it.
	{"internal/etcdsim", nil},
	{"internal/etcdtest/leak", nil},
	{"internal/etcdtest/mode", nil},
	{"internal/etcdtest/process", nil},
	{"internal/etcdtest/member", []string{"internal/etcdtest/process"}},
	{"internal/etcdtest", []string{"internal/etcdtest/leak", "internal/etcdtest/member", "internal/etcdtest/mode", "internal/etcdtest/process"}},
	{"locker/lockertest", []string{"internal/etcdsim", "keyspace", "locker"}},
	{"internal/locktest", []string{"internal/etcdtest", "keyspace", "locker", "locker/lockertest"}},
	{"internal/simtest", []string{"internal/etcdsim", "internal/etcdtest/leak", "keyspace", "locker"}},
}

// docs/architecture.md has them in a picture.
func TestImportsGoDown(t *testing.T) {
	t.Parallel()
	all := list(t, ".", "./keyspace", "./locker", "./guard", "./once", "./election", "./otelhook", "./locker/lockertest", "./internal/locktest", "./internal/simtest")
	below := make(map[string]bool)
	for _, f := range floors {
		for _, i := range f.imports {
			if !below[i] {
				t.Errorf("%q may import %s, which is not below it", f.name, i)
			}
		}
		below[f.name] = true
		p, ok := all[strings.TrimSuffix(module+"/"+f.name, "/")]
		if !ok {
			t.Errorf("there is no package %q", f.name)
		}
		for _, i := range p.Imports {
			if i, ours := strings.CutPrefix(i, module+"/"); ours && !slices.Contains(f.imports, i) {
				t.Errorf("%q imports %s", f.name, i)
			}
		}
		for _, i := range f.imports {
			if !slices.Contains(p.Imports, module+"/"+i) {
				t.Errorf("%q may import %s, and does not", f.name, i)
			}
		}
	}
	for name := range all {
		if name, ours := strings.CutPrefix(name, module); ours && !below[strings.TrimPrefix(name, "/")] {
			t.Errorf("%q is on no floor", name)
		}
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
