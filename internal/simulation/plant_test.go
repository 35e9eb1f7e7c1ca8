package simulation_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A mistake is a change to one function that breaks a promise. The old text must be in the function exactly once. A function
// is named as in "tokenOf" or "(*lease).renew", and may be in any file of package locker. That of another package has the
// package's directory in front, as in "internal/lease:(*Lease).renew".
type mistake struct{ name, function, old, new string }

const module = "../.."

// plant returns an overlay for the go command with the mistake in it.
func plant(t *testing.T, m mistake) string {
	dir, name, elsewhere := strings.Cut(m.function, ":")
	if !elsewhere {
		dir, name = "locker", m.function
	}
	file, src, from, to := find(t, filepath.Join(module, dir), name)
	if file == "" {
		t.Fatalf("%s: there is no function %s in %s: mend the table of mistakes", m.name, name, dir)
	}
	body := src[from:to]
	if n := strings.Count(body, m.old); n != 1 {
		t.Fatalf("%s: %q is in %s of %s %d times: mend the table of mistakes", m.name, m.old, name, file, n)
	}
	mutant, overlay := filepath.Join(t.TempDir(), filepath.Base(file)), filepath.Join(t.TempDir(), "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {file: mutant}})
	if err != nil {
		t.Fatal(err)
	}
	body = strings.Replace(body, m.old, m.new, 1)
	for name, data := range map[string]string{mutant: src[:from] + body + src[to:], overlay: string(replace)} {
		if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return overlay
}

// find returns the file in dir with that function, its text, and where in it the function is.
func find(t *testing.T, dir, function string) (file, src string, from, to int) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, src, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && nameOf(f) == function {
				abs, err := filepath.Abs(file)
				if err != nil {
					t.Fatal(err)
				}
				return abs, string(src), set.Position(f.Pos()).Offset, set.Position(f.End()).Offset
			}
		}
	}
	return "", "", 0, 0
}

// nameOf is a function's name, with its receiver's type.
func nameOf(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	pointer, typ := "", f.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		pointer, typ = "*", star.X
	}
	switch generic := typ.(type) {
	case *ast.IndexExpr:
		typ = generic.X
	case *ast.IndexListExpr:
		typ = generic.X
	}
	return "(" + pointer + typ.(*ast.Ident).Name + ")." + f.Name.Name
}
