package elock_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Links of the documents lead to files and headings that exist.
func TestTheLinksOfTheDocsLeadSomewhere(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md").Output()
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for doc := range strings.Lines(string(out)) {
		doc = strings.TrimSpace(doc)
		if strings.Contains(doc, "testdata/") {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(withoutCode(readDoc(t, doc)), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := doc
			if target != "" {
				file = filepath.Join(filepath.Dir(doc), target)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: %s does not exist", doc, m[1])
			} else if anchor != "" && !headings(readDoc(t, file))[anchor] {
				t.Errorf("%s: %s has no heading %q", doc, file, anchor)
			}
		}
	}
}

// withoutCode removes code: what is in fences, and between backquotes.
func withoutCode(doc string) string {
	return regexp.MustCompile("(?ms)^```.*?^```$|`[^`\n]*`").ReplaceAllString(doc, "")
}

// headings returns the anchors of a document, as GitHub makes them.
func headings(doc string) map[string]bool {
	anchors := make(map[string]bool)
	for line := range strings.Lines(doc) {
		if title := strings.TrimLeft(line, "#"); title != line && strings.HasPrefix(title, " ") {
			title = strings.ToLower(strings.TrimSpace(title))
			title = regexp.MustCompile(`[^\pL\pN _-]`).ReplaceAllString(title, "")
			anchors[strings.ReplaceAll(title, " ", "-")] = true
		}
	}
	return anchors
}
