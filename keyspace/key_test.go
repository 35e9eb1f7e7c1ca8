package keyspace_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/phpgao/elock/keyspace"
)

func TestParseKeepsEveryValidNameAsItIs(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"my-key", "billing/account/42", ".", "..", "a/../b", " ", "a b/ c ", "🔒/ключ",
		"%", "%2F", "100%/x", "a:b", "a:/b", ":", "tab\tnewline\n", "\x7f", "\u0085", "\ufffd",
		strings.Repeat("x", 1024), strings.Repeat("é", 512),
	} {
		k, err := keyspace.Parse(name)
		if err != nil {
			t.Errorf("Parse(%q): %v", name, err)
		}
		if k.String() != name {
			t.Errorf("Parse(%q).String() = %q", name, k)
		}
		if k.IsZero() {
			t.Errorf("Parse(%q) is zero", name)
		}
	}
}

func TestParseSaysWhichRuleANameBreaks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, want string }{
		{"", `keyspace: invalid name "": empty`},
		{"/", `keyspace: invalid name "/": empty segment: a slash at an end, or two in a row`},
		{"/a", `keyspace: invalid name "/a": empty segment: a slash at an end, or two in a row`},
		{"a/", `keyspace: invalid name "a/": empty segment: a slash at an end, or two in a row`},
		{"a//b", `keyspace: invalid name "a//b": empty segment: a slash at an end, or two in a row`},
		{"a\x00b", `keyspace: invalid name "a\x00b": contains NUL`},
		{"a\xffb", `keyspace: invalid name "a\xffb": not UTF-8`},
		{"\xed\xa0\x80", `keyspace: invalid name "\xed\xa0\x80": not UTF-8`}, // a lone surrogate
		{strings.Repeat("x", 1025), `keyspace: invalid name "` + strings.Repeat("x", 64) + `"…: 1025 bytes, more than 1024`},
		{strings.Repeat("€", 1000), `keyspace: invalid name "` + strings.Repeat("€", 22) + `"…: 3000 bytes, more than 1024`},
	} {
		k, err := keyspace.Parse(tt.name)
		if !errors.Is(err, keyspace.ErrInvalid) {
			t.Errorf("Parse(%.20q): got error %v, want ErrInvalid", tt.name, err)
			continue
		}
		if err.Error() != tt.want {
			t.Errorf("Parse(%.20q)\n got error %s\nwant error %s", tt.name, err, tt.want)
		}
		if !k.IsZero() {
			t.Errorf("Parse(%.20q) failed and returned %q", tt.name, k)
		}
	}
}

func TestMustParsePanicsWithTheErrorOfParse(t *testing.T) {
	t.Parallel()
	wantInvalidPanic(t, func() { keyspace.MustParse("a//b") })
}

func TestPath(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ prefix, name, want string }{
		{"elock", "my-key", "/elock/my-key/"},
		{"elock", "billing/account/42", "/elock/billing:/account:/42/"},
		{"a/b", "c", "/a:/b/c/"},
		{"a/b", "c/d", "/a:/b/c:/d/"},
		{"elock", "..", "/elock/../"},
		{"elock", "a b/🔒", "/elock/a b:/🔒/"},
		{"elock", "a:/b", "/elock/a%3A:/b/"},
		{"elock", "a%2Fb", "/elock/a%252Fb/"},
		{"elock", "\x01\t\n\x1f\x7f", "/elock/%01%09%0A%1F%7F/"},
		{"elock", "\u0085\u00a0", "/elock/%C2%85\u00a0/"},
		{"elock", "\ufffd", "/elock/\ufffd/"},
		{"e\x00l:k", "a", "/e%00l%3Ak/a/"},
		{"\xff\ufffd", "a", "/%FF\ufffd/a/"},
		{"", "a", "/%/a/"},
		{"%", "a", "/%25/a/"},
		{"/elock/", "a", "/%:/elock:/%/a/"},
		{"a//b", "c", "/a:/%:/b/c/"},
	} {
		if got := keyspace.MustParse(tt.name).Path(tt.prefix); got != tt.want {
			t.Errorf("MustParse(%q).Path(%q) = %q, want %q", tt.name, tt.prefix, got, tt.want)
		}
	}
}

func TestZeroKeyNamesNothing(t *testing.T) {
	t.Parallel()
	var k keyspace.Key
	if !k.IsZero() {
		t.Error("the zero Key is not zero")
	}
	if k.String() != "" || k.Path("elock") != "" || k.Space() != "" {
		t.Errorf("the zero Key has String %q, Path %q, Space %q", k, k.Path("elock"), k.Space())
	}
}

func TestSpaceOfAKeyIsAllSegmentsButTheLast(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, want string }{
		{"my-key", ""},
		{"user/42", "user"},
		{"billing/account/42", "billing/account"},
		{"=", ""},
		{"user/=x", "user"},
		{"user/%", "user"},
		{"user/%/x", "user/%"},
		{"user/%/=x", "user"},
		{"user/%/#x", "user"},
		{"a%/=x", "a%"},
		{"%/=x", "%"}, // no space has an empty name
	} {
		if got := keyspace.MustParse(tt.name).Space(); got != tt.want {
			t.Errorf("MustParse(%q).Space() = %q, want %q", tt.name, got, tt.want)
		}
	}
}

func wantInvalidPanic(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		err, _ := recover().(error)
		if !errors.Is(err, keyspace.ErrInvalid) {
			t.Errorf("got panic %v, want ErrInvalid", err)
		}
	}()
	f()
}
