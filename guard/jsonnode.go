package guard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// A node is a value of JSON: an object, an array, or a leaf.
type node struct {
	kind     byte // '{', '[', or 0 for a leaf
	raw      []byte
	names    []string // of the members, in the order in which they are written
	members  map[string]*node
	elements []*node
	id       int // equal nodes of one parser have the same, however they are written
}

// maxDepth is how deep encoding/json reads.
const maxDepth = 10000

// A parser reads documents that are valid JSON, each byte once.
type parser struct {
	ids  map[string]int // by a node's text, with ids in the place of its children
	data []byte
	pos  int
}

func newParser() parser { return parser{ids: make(map[string]int)} }

func (p *parser) parse(data []byte) (*node, error) {
	p.data, p.pos = data, 0
	return p.node(0)
}

// next returns the first byte that is not in skip.
func (p *parser) next(skip string) byte {
	for strings.IndexByte(skip, p.data[p.pos]) >= 0 {
		p.pos++
	}
	return p.data[p.pos]
}

const space = " \t\r\n"

func (p *parser) node(depth int) (*node, error) {
	if depth > maxDepth {
		return nil, errors.New("it is nested too deeply")
	}
	c := p.next(space)
	begin := p.pos
	n := &node{}
	var text []byte
	switch c {
	case '{':
		n.kind, n.members = c, make(map[string]*node)
		for p.pos++; p.next(space+",") != '}'; {
			name, exact := unquote(p.scan())
			if !exact { // encoding/json replaces what is not Unicode
				return nil, errors.New("a member has a name that is not UTF-8")
			}
			p.next(space)
			p.pos++ // the colon
			m, err := p.node(depth + 1)
			if err != nil {
				return nil, err
			}
			if n.members[name] == nil {
				n.names = append(n.names, name)
			}
			n.members[name] = m
		}
		p.pos++
		text = append(text, c)
		for _, name := range slices.Sorted(maps.Keys(n.members)) {
			text = strconv.AppendQuote(text, name)
			text = strconv.AppendInt(append(text, ':'), int64(n.members[name].id), 10)
		}
	case '[':
		n.kind = c
		text = append(text, c)
		for p.pos++; p.next(space+",") != ']'; {
			e, err := p.node(depth + 1)
			if err != nil {
				return nil, err
			}
			n.elements = append(n.elements, e)
			text = strconv.AppendInt(append(text, ','), int64(e.id), 10)
		}
		p.pos++
	default:
		text = canonical(p.scan())
	}
	n.raw = p.data[begin:p.pos]
	id, ok := p.ids[string(text)]
	if !ok {
		id = len(p.ids)
		p.ids[string(text)] = id
	}
	n.id = id
	return n, nil
}

// scan returns the leaf, or the name, that begins here, as it is written.
func (p *parser) scan() []byte {
	begin := p.pos
	if p.data[p.pos] != '"' {
		for p.pos < len(p.data) && !strings.ContainsRune(space+",]}", rune(p.data[p.pos])) {
			p.pos++
		}
		return p.data[begin:p.pos]
	}
	for p.pos++; p.data[p.pos] != '"'; p.pos++ {
		if p.data[p.pos] == '\\' {
			p.pos++
		}
	}
	p.pos++
	return p.data[begin:p.pos]
}

// unquote returns the string that raw is written for, and whether encoding/json reads
// it as it is: it replaces what is not UTF-8, and half a surrogate pair.
func unquote(raw []byte) (s string, exact bool) {
	exact = utf8.Valid(raw)
	if exact && bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), true
	}
	unit := func(i int) rune { // -1: there is none
		if i+6 > len(raw) || raw[i] != '\\' || raw[i+1] != 'u' {
			return -1
		}
		u, err := strconv.ParseUint(string(raw[i+2:i+6]), 16, 16)
		if err != nil {
			return -1
		}
		return rune(u)
	}
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		if u := unit(i); utf16.IsSurrogate(u) {
			exact = exact && utf16.DecodeRune(u, unit(i+6)) != utf8.RuneError
			i += 6
		}
		i++
	}
	return s, json.Unmarshal(raw, &s) == nil && exact
}

// canonical returns a text that is the same for equal leaves, however they are
// written. A string that encoding/json would change is equal to none that is written
// otherwise.
func canonical(raw []byte) []byte {
	if raw[0] == '"' {
		if s, exact := unquote(raw); exact {
			return strconv.AppendQuote(nil, s)
		}
		return append([]byte("!"), raw...) // written otherwise than any other text
	}
	if number(raw) {
		return []byte(canonicalNumber(string(raw)))
	}
	return raw
}

func number(raw []byte) bool {
	return len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9')
}

// canonicalNumber writes a number of JSON as its digits without outer zeros, and an
// exponent.
func canonicalNumber(s string) string {
	unsigned, negative := strings.CutPrefix(s, "-")
	mantissa, exp := unsigned, 0
	if i := strings.IndexAny(unsigned, "eE"); i >= 0 {
		n, err := strconv.ParseInt(unsigned[i+1:], 10, 32)
		if err != nil {
			return s
		}
		mantissa, exp = unsigned[:i], int(n)
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	exp -= len(fraction)
	significant := strings.TrimRight(digits, "0")
	exp += len(digits) - len(significant)
	sign := ""
	if negative {
		sign = "-"
	}
	switch {
	case significant == "":
		return sign + "0"
	case exp == 0:
		return sign + significant
	}
	return fmt.Sprintf("%s%se%d", sign, significant, exp)
}

// write appends the text of n, which is merged from nodes that were read, or is one.
func (n *node) write(b *bytes.Buffer) {
	switch {
	case n.raw != nil:
		b.Write(n.raw)
	case n.kind == '{':
		sep := byte('{')
		for _, name := range slices.Sorted(maps.Keys(n.members)) {
			b.WriteByte(sep)
			quoted, _ := json.Marshal(name) // a string has a text
			b.Write(quoted)
			b.WriteByte(':')
			n.members[name].write(b)
			sep = ','
		}
		if sep == '{' {
			b.WriteByte(sep)
		}
		b.WriteByte('}')
	case n.kind == '[':
		b.WriteByte('[')
		for i, e := range n.elements {
			if i > 0 {
				b.WriteByte(',')
			}
			e.write(b)
		}
		b.WriteByte(']')
	}
}

// fold returns the same for names that encoding/json takes for one.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		for {
			next := unicode.SimpleFold(r)
			if next <= r {
				return next
			}
			r = next
		}
	}, name)
}
