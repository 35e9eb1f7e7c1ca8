package keyspace

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrInvalid is matched by every error of this package.
var ErrInvalid = errors.New("keyspace: invalid name")

const maxLen = 1024

// Key is the name of one lock. The zero Key names none; every other Key is
// valid.
type Key struct{ name string }

// Parse returns the Key called name: one or more segments between slashes.
// It fails with an error that matches [ErrInvalid] if the name or one of its
// segments is empty, or if the name is longer than 1024 bytes, is not UTF-8,
// or contains a NUL. Every other character is a plain one, and "." and ".."
// are segments like any other.
func Parse(name string) (Key, error) {
	if broken := brokenRule(name); broken != "" {
		return Key{}, invalid(name, broken)
	}
	return Key{name}, nil
}

// MustParse is [Parse] for names known to be valid; it panics with the error
// for others.
func MustParse(name string) Key {
	k, err := Parse(name)
	if err != nil {
		panic(err)
	}
	return k
}

// String returns the name that [Parse] was given; "" for the zero Key.
func (k Key) String() string { return k.name }

// IsZero reports whether k is the zero Key, which names no lock.
func (k Key) IsZero() bool { return k.name == "" }

// Space returns all segments of k but the last, "" if there is only one. For
// the keys of a [Space] it is the name of that space, whichever form the id
// took. Few spaces hold many keys, so it suits metrics as a label.
func (k Key) Space() string {
	i := strings.LastIndexByte(k.name, '/')
	if i < 0 {
		return ""
	}
	parent, last := k.name[:i], k.name[i+1:]
	if last[0] == '=' || last[0] == '#' {
		return strings.TrimSuffix(parent, "/%")
	}
	return parent
}

// Path returns the etcd directory, from slash to slash, that holds the queue
// of k for lockers with the given prefix. The prefix is split into segments
// as a name is. Every segment of either is one component of the path, and
// all but the last of the prefix and the last of the name carry a trailing
// colon: with prefix "elock", "my-key" is at /elock/my-key/ and
// "billing/account/42" at /elock/billing:/account:/42/.
//
// Within a segment, colons, percent signs, control characters and bytes that
// are not UTF-8 are written as %XX, byte by byte. An empty segment, which
// only a prefix can have, is a lone "%".
//
// So every path has exactly two components without a colon, and the second
// one ends it. If one path were a prefix of another, its second colon-free
// component would end the other too: they would be the same path. The first
// one marks where the prefix stops, so the same path means the same prefix
// and the same key. This holds for all strings, valid as names or not.
//
// The path of the zero Key is "".
func (k Key) Path(prefix string) string {
	if k.IsZero() {
		return ""
	}
	var b strings.Builder
	b.Grow(len(prefix) + len(k.name) + 16) // as a rule
	b.WriteByte('/')
	writeComponents(&b, prefix)
	writeComponents(&b, k.name)
	return b.String()
}

// ValuePath returns the etcd key of the value that the lock guards, for whoever
// keeps one there: the lock's directory without its final slash. It lies in no
// lock's directory, and is no other key's: every directory, and so every key in
// one, has a slash after its last segment.
//
// The value path of the zero Key is "".
func (k Key) ValuePath(prefix string) string {
	return strings.TrimSuffix(k.Path(prefix), "/")
}

func writeComponents(b *strings.Builder, name string) {
	for more := true; more; {
		var segment string
		segment, name, more = strings.Cut(name, "/")
		if segment == "" {
			b.WriteByte('%')
		}
		writeEscaped(b, segment, breaksPath)
		if more {
			b.WriteByte(':')
		}
		b.WriteByte('/')
	}
}

// breaksPath leaves out the slash: no segment holds one.
func breaksPath(r rune) bool { return r == ':' || r == '%' || unicode.IsControl(r) }

// writeEscaped writes s with the bytes of special runes, and those that are
// not UTF-8, as %XX. It can be read back if '%' is special.
func writeEscaped(b *strings.Builder, s string, special func(rune) bool) {
	const hex = "0123456789ABCDEF"
	plain := 0 // where the part begins that is yet to be written as it is
	for i, size := 0, 0; i < len(s); i += size {
		var r rune
		r, size = utf8.DecodeRuneInString(s[i:])
		if notUTF8 := r == utf8.RuneError && size == 1; notUTF8 || special(r) {
			b.WriteString(s[plain:i])
			for _, c := range []byte(s[i : i+size]) {
				b.Write([]byte{'%', hex[c>>4], hex[c&0xF]})
			}
			plain = i + size
		}
	}
	b.WriteString(s[plain:])
}

// brokenRule says what makes a name invalid, "" if nothing does.
func brokenRule(name string) string {
	switch {
	case name == "":
		return "empty"
	case len(name) > maxLen:
		return fmt.Sprintf("%d bytes, more than %d", len(name), maxLen)
	case !utf8.ValidString(name):
		return "not UTF-8"
	case strings.IndexByte(name, 0) >= 0:
		return "contains NUL"
	}
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "" {
			return "empty segment: a slash at an end, or two in a row"
		}
	}
	return ""
}

func invalid(name, broken string) error {
	return fmt.Errorf("%w %s: %s", ErrInvalid, quoteShort(name), broken)
}

func quoteShort(name string) string {
	for i := range name { // i is never inside a rune
		if i >= 64 {
			return strconv.Quote(name[:i]) + "…"
		}
	}
	return strconv.Quote(name)
}
