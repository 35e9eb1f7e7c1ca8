package otelhook_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func deps(t *testing.T, pkg string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", "github.com/phpgao/elock/"+pkg).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

func TestTheHookNeedsNoSDKAndTheLockerNoOpenTelemetry(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ pkg, without string }{
		{"otelhook", "go.opentelemetry.io/otel/sdk"},
		{"otelhook", "go.opentelemetry.io/otel/exporters"},
		{"locker", "go.opentelemetry.io/"},
		{"guard", "go.opentelemetry.io/"},
	} {
		for _, d := range deps(t, tt.pkg) {
			if strings.HasPrefix(d, tt.without) {
				t.Errorf("%s imports %s", tt.pkg, d)
			}
		}
	}
}

func TestTheHookKnowsOfTheLockerOnlyHookTypesAndErrors(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var used []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "locker" {
					used = append(used, s.Sel.Name)
				}
			}
			return true
		})
	}
	slices.Sort(used)
	want := []string{
		"AcquireEndData", "AcquireStartData", "BlockedData",
		"ErrClosed", "ErrLocked", "ErrLost", "ErrMaxHeld", "ErrReleased", "ErrUnavailable",
		"HoldEndData", "HoldRiskData", "HoldStartData", "Hook", "LostError", "NopHook",
		"ReasonDeadline", "ReasonEvicted", "ReasonKeyDeleted", "ReasonLeaseExpired",
		"TimeoutEndData", "TimeoutStartData", "Token",
	}
	if diff := cmp.Diff(want, slices.Compact(used)); diff != "" {
		t.Error(diff)
	}
}
