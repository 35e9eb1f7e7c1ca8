package keyspace_test

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/phpgao/elock/keyspace"
	"pgregory.net/rapid"
)

var (
	// Few characters and few segments, so that two draws often nearly agree.
	similar = rapid.StringMatching(`[a:%=#/]{0,6}`)

	hostile = rapid.SampledFrom([]string{
		"", ".", "..", "%", "%2F", "%3A", "%25", ":", "a:", "=", "#", " ", "🔒", "\ufffd",
		"\x00", "\x01", "\n", "\x7f", "\u0080", "\u009f", "\u2028", "\xc2", "\x80", "\xff", "\xed\xa0\x80",
		strings.Repeat("x", 1024), strings.Repeat(":", 1024), strings.Repeat("/", 400),
	})

	anyString = rapid.OneOf(
		similar,
		rapid.String(),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
		rapid.Map(rapid.SliceOfN(hostile, 0, 4), func(s []string) string { return strings.Join(s, "/") }),
		rapid.Map(rapid.SliceOfN(hostile, 0, 4), func(s []string) string { return strings.Join(s, "") }),
	)

	validName = anyString.Filter(followsTheRules)
	// A space called "x/%" is the documented exception.
	spaceName = validName.Filter(func(s string) bool { return len(s) <= 976 && !strings.HasSuffix(s, "/%") })
)

func followsTheRules(name string) bool {
	return len(name) <= 1024 && utf8.ValidString(name) && !strings.Contains(name, "\x00") &&
		!strings.Contains("/"+name+"/", "//")
}

func TestANameIsParsedExactlyIfItFollowsTheRules(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) { checkParse(t, anyString.Draw(t, "name")) })
}

func TestNoPathIsAPrefixOfAnother(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		checkPaths(t,
			anyString.Draw(t, "prefix1"), keyspace.MustParse(validName.Draw(t, "key1")),
			anyString.Draw(t, "prefix2"), keyspace.MustParse(validName.Draw(t, "key2")))
	})
}

func TestPathCanBeReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		checkReadBack(t, anyString.Draw(t, "prefix"), keyspace.MustParse(validName.Draw(t, "key")))
	})
}

func TestOneSegmentNamesSitWhereConcurrencyMutexQueues(t *testing.T) {
	t.Parallel()
	segment := rapid.StringMatching(`[a-zA-Z0-9 ._=#é🔒-]{1,40}`)
	rapid.Check(t, func(t *rapid.T) {
		prefix, name := segment.Draw(t, "prefix"), segment.Draw(t, "name")
		if got, want := keyspace.MustParse(name).Path(prefix), "/"+prefix+"/"+name+"/"; got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

func TestEveryIDOfEverySpaceHasAValidKeyOfItsOwn(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name1, id1 := spaceName.Draw(t, "space1"), anyString.Draw(t, "id1")
		name2, id2 := spaceName.Draw(t, "space2"), anyString.Draw(t, "id2")
		if rapid.Bool().Draw(t, "same space") {
			name2 = name1
		}
		k1 := keyspace.MustNew[string](name1).Key(id1)
		k2 := keyspace.MustNew[code](name2).Key(code(id2))
		if !followsTheRules(k1.String()) || k1.IsZero() {
			t.Fatalf("invalid key %q", k1)
		}
		if k1.Space() != name1 {
			t.Fatalf("key %q is of space %q, want %q", k1, k1.Space(), name1)
		}
		if (k1 == k2) != (name1 == name2 && id1 == id2) {
			t.Fatalf("keys %q and %q", k1, k2)
		}
	})
}

func TestIDCanBeReadBackUnlessItWasHashed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name, id := spaceName.Draw(t, "space"), anyString.Draw(t, "id")
		k := keyspace.MustNew[string](name).Key(id)
		got, ok := strings.CutPrefix(k.String(), name+"/")
		if !ok {
			t.Fatalf("key %q is not in space %q", k, name)
		}
		if hash, ok := strings.CutPrefix(got, "%/#"); ok {
			if len(hash) != 43 || len(name)+len(id) < 300 {
				t.Fatalf("id %q was hashed to %q", id, k)
			}
			return
		}
		if strings.Contains(got, "/") {
			escaped, ok := strings.CutPrefix(got, "%/=")
			var err error
			if got, err = url.PathUnescape(escaped); !ok || err != nil {
				t.Fatalf("key %q: %v", k, err)
			}
		}
		if got != id {
			t.Fatalf("key %q reads back as id %q, want %q", k, got, id)
		}
	})
}

func TestEveryIntegerIDHasAKeyOfItsOwn(t *testing.T) {
	t.Parallel()
	s := keyspace.MustNew[account]("account")
	rapid.Check(t, func(t *rapid.T) {
		a, b := account(rapid.Int64().Draw(t, "a")), account(rapid.Int64().Draw(t, "b"))
		if (s.Key(a) == s.Key(b)) != (a == b) {
			t.Fatalf("keys %q and %q", s.Key(a), s.Key(b))
		}
	})
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func checkParse(t failer, name string) {
	t.Helper()
	k, err := keyspace.Parse(name)
	if valid := followsTheRules(name); valid != (err == nil) {
		t.Fatalf("valid is %t, error is %v", valid, err)
	}
	if err == nil && k.String() != name {
		t.Fatalf("got %q back for %q", k, name)
	}
	if k.IsZero() != (err != nil) {
		t.Fatalf("IsZero is %t, error is %v", k.IsZero(), err)
	}
}

func checkPaths(t failer, prefix1 string, k1 keyspace.Key, prefix2 string, k2 keyspace.Key) {
	t.Helper()
	path1, path2 := k1.Path(prefix1), k2.Path(prefix2)
	if prefix1 == prefix2 && k1 == k2 {
		if path1 != path2 {
			t.Fatalf("one key, two paths %q and %q", path1, path2)
		}
		return
	}
	if strings.HasPrefix(path1, path2) || strings.HasPrefix(path2, path1) {
		t.Fatalf("paths %q and %q reach into each other", path1, path2)
	}
}

// checkReadBack undoes Path with another decoder: what can be read back is
// injective.
func checkReadBack(t failer, prefix string, k keyspace.Key) {
	t.Helper()
	path := k.Path(prefix)
	var names, segments []string
	for _, component := range strings.Split(strings.TrimSuffix(path[1:], "/"), "/") {
		component, inner := strings.CutSuffix(component, ":")
		if component == "%" {
			component = ""
		} else if s, err := url.PathUnescape(component); err != nil || s == "" || strings.Contains(component, ":") {
			t.Fatalf("component %q of %q: %v", component, path, err)
		} else {
			component = s
		}
		segments = append(segments, component)
		if !inner {
			names = append(names, strings.Join(segments, "/"))
			segments = nil
		}
	}
	if len(names) != 2 || len(segments) != 0 || names[0] != prefix || names[1] != k.String() {
		t.Fatalf("path %q of prefix %q and key %q reads back as %q", path, prefix, k, names)
	}
}
