package keyspace_test

import (
	"testing"

	"github.com/phpgao/elock/keyspace"
)

func FuzzParse(f *testing.F) {
	for _, name := range []string{"", "a", "a/b", "/", "a//b", "..", "%2F", "a:", "🔒", "\x00", "\xff", "\u0085"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) { checkParse(t, name) })
}

func FuzzPath(f *testing.F) {
	f.Add("elock", "a", "elock", "a/b")
	f.Add("elock", "a:/b", "elock:", "a/b")
	f.Add("a/b", "c", "a", "b/c")
	f.Add("", "a", "%", "a")
	f.Add("\xff", "a", "%FF", "a")
	f.Add("\xc2\x80", "\u0080", "%C2%80", "%C2%80")
	f.Fuzz(func(t *testing.T, prefix1, name1, prefix2, name2 string) {
		k1, err1 := keyspace.Parse(name1)
		k2, err2 := keyspace.Parse(name2)
		if err1 != nil || err2 != nil {
			t.Skip()
		}
		checkPaths(t, prefix1, k1, prefix2, k2)
		checkReadBack(t, prefix1, k1)
	})
}
