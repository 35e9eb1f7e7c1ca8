package keyspace_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/phpgao/elock/keyspace"
)

func TestSpaceKeyHasOneFormForEachSortOfID(t *testing.T) {
	t.Parallel()
	file := keyspace.MustNew[string]("file")
	for _, tt := range []struct{ id, want string }{
		{"42", "file/42"},
		{"..", "file/.."},
		{"a b:🔒", "file/a b:🔒"},
		{"%", "file/%"},
		{"=", "file/="},
		{"a%2Fb", "file/a%2Fb"},
		{strings.Repeat("x", 1019), "file/" + strings.Repeat("x", 1019)},
		{"", "file/%/="},
		{"/", "file/%/=%2F"},
		{"a/b", "file/%/=a%2Fb"},
		{"a%/b:", "file/%/=a%25%2Fb:"},
		{"%/=", "file/%/=%25%2F="},
		{"a\x00", "file/%/=a%00"},
		{"\xc3(", "file/%/=%C3("},
		{strings.Repeat("x", 1020), "file/%/#76tw-Kmk4eOZFJQLKJ83lx_-Pq-LN1yQuQ4C06qfwZA"},
		{strings.Repeat("/", 400), "file/%/#"},
	} {
		got := file.Key(tt.id).String()
		if strings.HasSuffix(tt.want, "#") {
			got = got[:min(len(got), len(tt.want))]
		}
		if got != tt.want {
			t.Errorf("Key(%.20q) = %.60q, want %.60q", tt.id, got, tt.want)
		}
	}
}

// Types whose ids all print the same.
type (
	account int64
	code    string
	flag    uint8
)

func (account) String() string { return "account" }
func (code) String() string    { return "code" }
func (flag) String() string    { return "flag" }

func TestSpaceKeyReadsTheValueOfAnIDAndNotItsStringMethod(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		got  keyspace.Key
		want string
	}{
		{keyspace.MustNew[int]("user").Key(42), "user/42"},
		{keyspace.MustNew[account]("user").Key(42), "user/42"},
		{keyspace.MustNew[account]("user").Key(math.MinInt64), "user/-9223372036854775808"},
		{keyspace.MustNew[int8]("user").Key(-128), "user/-128"},
		{keyspace.MustNew[uint64]("user").Key(math.MaxUint64), "user/18446744073709551615"},
		{keyspace.MustNew[flag]("flag").Key(7), "flag/7"},
		{keyspace.MustNew[code]("code").Key("x"), "code/x"},
		{keyspace.MustNew[code]("code").Key("x/y"), "code/%/=x%2Fy"},
	} {
		if tt.got != keyspace.MustParse(tt.want) {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

func TestSpaceWithTheLongestNameHasAValidKeyForEveryID(t *testing.T) {
	t.Parallel()
	s := keyspace.MustNew[string](strings.Repeat("s", 976))
	seen := map[keyspace.Key]string{}
	for _, id := range []string{
		"", "a", "/", "\x00", "\xff", strings.Repeat("x", 47), strings.Repeat("x", 48),
		strings.Repeat("/", 15), strings.Repeat("/", 14), strings.Repeat("y", 1<<20),
	} {
		k := s.Key(id)
		if _, err := keyspace.Parse(k.String()); err != nil {
			t.Errorf("Key(%.20q): %v", id, err)
		}
		if k.Space() != s.String() {
			t.Errorf("Key(%.20q).Space() = %q", id, k.Space())
		}
		if other, ok := seen[k]; ok {
			t.Errorf("%.20q and %.20q have the same key", id, other)
		}
		seen[k] = id
	}
}

func TestNewRefusesWhatParseRefusesAndNamesThatLeaveNoRoom(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "/", "a//b", "a\x00", "\xff", strings.Repeat("s", 977), strings.Repeat("s", 1025)} {
		s, err := keyspace.New[int](name)
		if !errors.Is(err, keyspace.ErrInvalid) {
			t.Errorf("New(%.20q): got error %v, want ErrInvalid", name, err)
		}
		if s != (keyspace.Space[int]{}) {
			t.Errorf("New(%.20q) failed and returned %q", name, s)
		}
		wantInvalidPanic(t, func() { keyspace.MustNew[int](name) })
	}
}

func TestZeroSpaceHasOnlyZeroKeys(t *testing.T) {
	t.Parallel()
	var s keyspace.Space[string]
	for _, id := range []string{"", "a", "a/b"} {
		if k := s.Key(id); !k.IsZero() {
			t.Errorf("Key(%q) = %q, want the zero Key", id, k)
		}
	}
}
