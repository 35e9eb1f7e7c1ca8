package elock_test

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock"
	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// readmeEndpoint is where the README's programs look for etcd.
const readmeEndpoint = "localhost:2379"

func TestTheProgramsOfTheReadmeRunAndLeaveNoKey(t *testing.T) {
	t.Parallel()
	programs, _ := goIn(t, "README.md")
	wants := []string{`^holding reports/nightly with token \d+\n$`}
	if len(programs) != len(wants) {
		t.Fatalf("%d programs, want %d", len(programs), len(wants))
	}
	etcd := etcdtest.StartOwn(t)
	for i, want := range wants {
		exe := buildProgram(t, programs[i], etcd)
		cmd := exec.CommandContext(t.Context(), exe)
		cmd.Dir, cmd.Stderr = t.TempDir(), os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("program %d: %v", i, err)
		}
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("program %d printed %q, want %s", i, out, want)
		}
	}
	wantNoKeys(t, etcd.Client(t))
}

func TestAProgramOfTheReadmeThatIsInterruptedLeavesNoKey(t *testing.T) {
	t.Parallel()
	programs, _ := goIn(t, "README.md")
	etcd := etcdtest.StartOwn(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l, err := locker.New(etcd.Client(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i, key := range []keyspace.Key{keyspace.MustParse("reports/nightly")} {
		h, err := l.Acquire(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(ctx, buildProgram(t, programs[i], etcd))
		cmd.Dir = t.TempDir()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for waiting := 0; waiting == 0; time.Sleep(10 * time.Millisecond) { // the period of a poll
			q, err := l.Inspect(ctx, key)
			if err != nil {
				t.Fatal(err)
			}
			waiting = len(q.Waiters)
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("program %d: %v, want exit status 1", i, err)
		}
		if err := h.Release(ctx); err != nil {
			t.Fatal(err)
		}
		wantNoKeys(t, etcd.Client(t))
	}
}

func wantNoKeys(t *testing.T, client *clientv3.Client) {
	t.Helper()
	all, err := client.Get(t.Context(), "", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range all.Kvs {
		if kv.Lease != 0 { // else it is a value
			t.Errorf("key %s is left", kv.Key)
		}
	}
}

// Parts of programs are compiled as they are if they have functions, and otherwise as the body of a function that has what
// their text speaks of.
func TestThePartsOfProgramsInTheDocsCompile(t *testing.T) {
	t.Parallel()
	var parts []string
	for _, doc := range []string{"README.md", "docs/reference.md", "docs/operations.md"} {
		_, in := goIn(t, doc)
		if len(in) == 0 {
			t.Errorf("no parts in %s", doc)
		}
		parts = append(parts, in...)
	}
	var file strings.Builder
	file.WriteString(`package parts

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock"
	"github.com/phpgao/elock/election"
	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/once"
	"github.com/phpgao/elock/otelhook"
)

type Order struct {
	Wanted int
	Filled bool
}

var (
	row     guard.Resource[int]
	kettles *guard.Guard[Item]
	order   *guard.Guard[Order]
)

var (
	_ = errors.New
	_ = fmt.Println
	_ = log.Println
	_ = time.Second
	_ = elock.NewELocker
)

func report() {}
`)
	for i, part := range parts {
		if strings.Contains(part, "\nfunc ") {
			file.WriteString(part)
			continue
		}
		fmt.Fprintf(&file, `
func part%d(ctx context.Context, client *clientv3.Client, l *locker.Locker, key keyspace.Key, h *locker.Hold, work chan struct{}, value string) error {
	if ctx.Err() == nil {
%s
	}
	return nil
}
`, i, part)
	}
	goBuild(t, file.String(), filepath.Join(t.TempDir(), "parts"))
}

func TestTheReferenceNamesEveryOption(t *testing.T) {
	reference := readDoc(t, "docs/reference.md")
	want := []string{}
	for _, dir := range []string{"locker", "guard", "once", "election", "."} {
		want = append(want, exported(t, dir, func(d ast.Decl) []string {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || f.Type.Results == nil {
				return nil
			}
			result := f.Type.Results.List[0].Type
			if generic, ok := result.(*ast.IndexExpr); ok {
				result = generic.X
			}
			if name, ok := result.(*ast.Ident); ok && slices.Contains([]string{"Option", "AcquireOption", "ListOption", "JSONOption", "Opt"}, name.Name) {
				return []string{f.Name.Name}
			}
			return nil
		})...)
	}
	wantNames(t, tableColumn(reference, "## Options"), want)

	for option, value := range map[string]string{
		"WithPrefix":       locker.DefaultPrefix,
		"WithTTL":          locker.DefaultTTL.String(),
		"WithMaxHeldTime":  elock.DefaultMaxHeldTime.String(), // of its last row
		"WithMonitorTicks": locker.DefaultMonitorTicks.String(),
	} {
		if value != locker.DefaultPrefix { // 1h0m0s is 1h
			value = strings.TrimSuffix(strings.TrimSuffix(value, "0s"), "0m")
			if last := value[len(value)-1]; last >= '0' && last <= '9' {
				value += "0s"
			}
		}
		rows := regexp.MustCompile("(?m)^\\| `"+option+"` \\|[^|]*\\|([^|]*)\\|").FindAllStringSubmatch(reference, -1)
		if len(rows) == 0 || strings.Trim(rows[len(rows)-1][1], " `") != value {
			t.Errorf("default of %s: got %q, want %s", option, rows, value)
		}
	}
}

func TestTheReferenceNamesEveryError(t *testing.T) {
	column := tableColumn(readDoc(t, "docs/reference.md"), "## Errors")
	want := []string{"context.Canceled", "context.DeadlineExceeded"}
	for _, dir := range []string{"locker", "keyspace", "guard", "once", "election", "."} {
		want = append(want, exported(t, dir, func(d ast.Decl) (names []string) {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR && g.Tok != token.CONST {
				return nil
			}
			reasons := false // the type of a constant goes for those below it
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				if typ, ok := v.Type.(*ast.Ident); ok {
					reasons = typ.Name == "Reason"
				}
				for _, name := range v.Names {
					if strings.HasPrefix(name.Name, "Err") {
						pkg := dir
						if dir == "." {
							pkg = "elock"
						}
						names = append(names, pkg+"."+name.Name)
					} else if g.Tok == token.CONST && reasons {
						names = append(names, name.Name)
					}
				}
			}
			return names
		})...)
	}
	wantNames(t, slices.DeleteFunc(column, func(name string) bool { return strings.HasPrefix(name, "rpctypes.") }), want)
}

// wantNames fails the test unless got and want have the same names.
func wantNames(t *testing.T, got, want []string) {
	t.Helper()
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("the reference does not name %s", name)
		}
	}
	for _, name := range got {
		if !slices.Contains(want, name) {
			t.Errorf("the reference names %s, which does not exist", name)
		}
	}
}

// exported returns what names gives of the declarations in a directory,
// without those that are not exported.
func exported(t *testing.T, dir string, names func(ast.Decl) []string) (all []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			for _, name := range names(d) {
				if ast.IsExported(name[strings.LastIndexByte(name, '.')+1:]) {
					all = append(all, name)
				}
			}
		}
	}
	return all
}

// tableColumn returns the names in code type in the first column of all
// tables under a heading.
func tableColumn(doc, heading string) (names []string) {
	_, section, _ := strings.Cut(doc, "\n"+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
				names = append(names, name[1])
			}
		}
	}
	return names
}

// goIn returns the complete programs of a document, and its other Go code.
func goIn(t *testing.T, doc string) (programs, parts []string) {
	t.Helper()
	for _, block := range regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(readDoc(t, doc), -1) {
		if strings.HasPrefix(block[1], "package main\n") {
			programs = append(programs, block[1])
		} else {
			parts = append(parts, block[1])
		}
	}
	return programs, parts
}

func readDoc(t *testing.T, doc string) string {
	t.Helper()
	data, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// buildProgram builds a program that uses etcd.
func buildProgram(t *testing.T, source string, etcd *etcdtest.Member) (exe string) {
	t.Helper()
	if !strings.Contains(source, readmeEndpoint) {
		t.Fatalf("the program does not name %s", readmeEndpoint)
	}
	exe = filepath.Join(t.TempDir(), "program.exe")
	goBuild(t, strings.ReplaceAll(source, readmeEndpoint, etcd.Endpoint()), exe)
	return exe
}

// goBuild builds one file as a package of this module.
func goBuild(t *testing.T, source, output string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", output, file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
