package otelhook_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestTheDocumentNamesEverySpanEventAttributeAndMetric(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../docs/tracing.md")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`"((elock\.[a-z_.]+)|error\.type)"`)
	outcomes := regexp.MustCompile(`(?:outcome\{|name: |return )"([a-z_]+)"`)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all := names.FindAllStringSubmatch(string(src), -1)
		if name == "outcome.go" {
			all = append(all, outcomes.FindAllStringSubmatch(string(src), -1)...)
		}
		for _, m := range all {
			found++
			if !strings.Contains(string(doc), "`"+m[1]+"`") {
				t.Errorf("%s: %s is not in docs/tracing.md", name, m[1])
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d names found", found)
	}
}
