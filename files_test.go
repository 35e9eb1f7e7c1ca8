package elock_test

import (
	"encoding/json"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// files are those of package locker: each uses functions and types of those that come later.
var files = strings.Fields(`
	new.go close.go
	all.go free.go commit.go plan.go promote.go announce.go watch.go blocking.go list.go inspect.go health.go monitor.go loss.go request.go
	acquire.go attempt.go shared.go slots.go leases.go
	background.go ending.go release.go risk.go holdset.go reading.go atleast.go hold.go
	contexts.go locker.go options.go hooks.go hook.go errors.go owner.go token.go`)

// upwards is what they use besides. docs/architecture.md has the reasons.
var upwards = strings.Fields(`
	holdset.go>commit.go holdset.go>ending.go holdset.go>release.go
	hold.go>ending.go hold.go>background.go hold.go>holdset.go
	release.go>ending.go
	hooks.go>hold.go locker.go>hold.go hooks.go>locker.go`)

func TestFilesOfLockerUseThoseBelow(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range upwards {
		from, to, _ := strings.Cut(u, ">")
		if !strings.Contains(string(doc), "`"+from+"` → `"+to+"`") {
			t.Errorf("docs/architecture.md does not say why %s uses %s", from, to)
		}
	}
	used := uses(t, "locker")
	for from, tos := range used {
		if !slices.Contains(files, from) {
			t.Errorf("%s is on no floor", from)
		}
		for to, name := range tos {
			if slices.Index(files, to) < slices.Index(files, from) && !slices.Contains(upwards, from+">"+to) {
				t.Errorf("%s uses %s of %s, which is above it", from, name, to)
			}
		}
	}
	for _, u := range upwards {
		if from, to, _ := strings.Cut(u, ">"); used[from][to] == "" {
			t.Errorf("%s does not use %s any more", from, to)
		}
	}
	if len(upwards) > 15 {
		t.Errorf("%d files use one above", len(upwards))
	}
}

// uses returns, for each file of a package, the files whose functions, types, variables or constants it uses, and one of these.
func uses(t *testing.T, dir string) map[string]map[string]string {
	exports := make(map[string]string)
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Export", "./"+dir)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p struct{ ImportPath, Export string }
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
	}
	set := token.NewFileSet()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var parsed []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, file)
	}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	open := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	cfg := types.Config{Importer: importer.ForCompiler(set, "gc", open)}
	pkg, err := cfg.Check(module+"/"+dir, set, parsed, info)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]map[string]string)
	file := func(pos token.Pos) string { return filepath.Base(set.Position(pos).Filename) }
	for id, obj := range info.Uses {
		_, isFunc := obj.(*types.Func)
		if obj.Pkg() != pkg || !isFunc && obj.Parent() != pkg.Scope() {
			continue
		}
		if from, to := file(id.Pos()), file(obj.Pos()); from != to {
			if all[from] == nil {
				all[from] = make(map[string]string)
			}
			all[from][to] = obj.Name()
		}
	}
	if len(slices.Collect(maps.Keys(all))) < 2 {
		t.Fatalf("%s has no files", dir)
	}
	return all
}
