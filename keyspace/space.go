package keyspace

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// maxSpaceLen leaves room for the longest id that must fit: "/%/#" and a
// hash of 43 characters.
const maxSpaceLen = maxLen - 48

// ID is what a [Space] can number its locks with.
type ID interface {
	~string |
		~int | ~int8 | ~int16 | ~int32 | ~int64 |
		~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64
}

// Space is a family of locks: one for each id of type K. It is its name and
// nothing more, so two spaces of one name share their locks, also when K
// differs. The zero Space has only zero Keys.
type Space[K ID] struct{ name string }

// New returns the Space called name. It fails with an error that matches
// [ErrInvalid] where [Parse] does, and for names longer than 976 bytes, as
// the ids need room.
//
// A name should not end in "/%": that is where the space without this ending
// keeps its unusual ids, see [Space.Key].
func New[K ID](name string) (Space[K], error) {
	broken := brokenRule(name)
	if broken == "" && len(name) > maxSpaceLen {
		broken = fmt.Sprintf("%d bytes, more than %d for a space", len(name), maxSpaceLen)
	}
	if broken != "" {
		return Space[K]{}, invalid(name, broken)
	}
	return Space[K]{name}, nil
}

// MustNew is [New] for names known to be valid; it panics with the error for
// others.
func MustNew[K ID](name string) Space[K] {
	s, err := New[K](name)
	if err != nil {
		panic(err)
	}
	return s
}

// String returns the name of the space; "" for the zero Space.
func (s Space[K]) String() string { return s.name }

// Key returns the lock of id. Each id has a valid Key of its own, whatever
// its length and characters. Only the value of id counts; a String method is
// not asked.
//
//   - Integers, and strings that are a valid segment, follow the name:
//     "user/42".
//   - Other strings (empty, with a slash or a NUL, not UTF-8) are written
//     after "/%/=", with those characters and "%" as %XX: "file/%/=a%2Fb".
//   - What would make the key longer than 1024 bytes is hashed with SHA-256:
//     "file/%/#" and the hash in unpadded base64url.
//
// The first form has one segment after the name and the others two, so they
// never meet.
func (s Space[K]) Key(id K) Key {
	if s.name == "" {
		return Key{}
	}
	text := idText(id)
	if !strings.Contains(text, "/") {
		if k, ok := valid(s.name + "/" + text); ok {
			return k
		}
	}
	if len(text) < maxLen { // escaping only adds to it
		var b strings.Builder
		b.WriteString(s.name + "/%/=")
		writeEscaped(&b, text, breaksSegment)
		if k, ok := valid(b.String()); ok {
			return k
		}
	}
	sum := sha256.Sum256([]byte(text))
	return Key{s.name + "/%/#" + base64.RawURLEncoding.EncodeToString(sum[:])}
}

func valid(name string) (Key, bool) {
	if brokenRule(name) != "" {
		return Key{}, false
	}
	return Key{name}, true
}

func breaksSegment(r rune) bool { return r == '/' || r == '%' || r == 0 }

// idText reads id by its kind: fmt would ask its String method, which may
// give the same text for two ids.
func idText[K ID](id K) string {
	switch v := reflect.ValueOf(id); {
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10)
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10)
	default:
		return v.String()
	}
}
