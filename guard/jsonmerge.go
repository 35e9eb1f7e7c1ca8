package guard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// A merger merges documents of JSON. It is used once.
type merger struct {
	parser
	// namesKnown says that the type knows all names that are stored, so that it
	// has left out only what is empty.
	namesKnown bool
	strict     bool // nothing may be stored that the type does not hold
	// known returns what the type holds of a document.
	known  func(data []byte) ([]byte, error)
	resets []reset
}

// A reset is a member that the function has removed or made empty, though something
// is in it that the type does not hold.
type reset struct {
	in   *node // the merged object that it was in
	path []string
	rest *node // what the type does not hold of it
}

// merge returns next, with what is in old and not in base: base is what the type
// holds of old.
func (m *merger) merge(old, base, next []byte) ([]byte, error) {
	var nodes [3]*node
	for i, data := range [][]byte{old, base, next} {
		var err error
		if nodes[i], err = m.parse(data); err != nil {
			return nil, err
		}
	}
	if m.strict {
		if err := m.covers("", nodes[0], nodes[1], false); err != nil {
			return nil, err
		}
	}
	switch nodes[1].id {
	case nodes[2].id: // the function has not changed it
		return old, nil
	case nodes[0].id: // there is nothing besides
		return next, nil
	}
	merged, err := m.nodes(nil, nodes[0], nodes[1], nodes[2])
	if err == nil {
		err = m.keepRests(merged)
	}
	if err != nil {
		return nil, err
	}
	return text(merged)
}

func text(n *node) ([]byte, error) {
	var written, compact bytes.Buffer
	n.write(&written)
	err := json.Compact(&compact, written.Bytes())
	return compact.Bytes(), err
}

// maxRounds is how often keepRests reads the result.
const maxRounds = 8

// keepRests keeps the rests of what was made empty, where the type reads that as
// empty still. What it reads as something else was removed: an entry of a map, or
// what a pointer led to.
func (m *merger) keepRests(merged *node) error {
	for _, r := range m.resets {
		r.in.members[r.path[len(r.path)-1]] = r.rest
	}
	for range maxRounds {
		if len(m.resets) == 0 {
			return nil
		}
		data, err := text(merged)
		if err != nil {
			return err
		}
		if data, err = m.known(data); err != nil {
			return err
		}
		seen, err := m.parse(data)
		if err != nil {
			return err
		}
		m.resets = slices.DeleteFunc(m.resets, func(r reset) bool {
			at := seen
			for _, name := range r.path {
				if at = at.members[name]; at == nil {
					return true
				}
			}
			gone := prune(r.rest, at)
			if gone {
				delete(r.in.members, r.path[len(r.path)-1])
			}
			return gone
		})
	}
	if len(m.resets) == 0 {
		return nil
	}
	return fmt.Errorf("what is stored within %q was removed, or made empty", m.resets[0].path)
}

// prune removes the innermost parts of rest that the type sees, and reports whether
// nothing is left.
func prune(rest, seen *node) (gone bool) {
	inner := false
	if rest.raw == nil && rest.kind == '{' {
		typeName := typeNames(rest, seen)
		for name, n := range rest.members {
			if at := seen.members[typeName(name)]; at != nil {
				inner = true
				if prune(n, at) {
					delete(rest.members, name)
				}
			}
		}
	}
	return !inner || len(rest.members) == 0
}

// nodes is merge of what is at path.
func (m *merger) nodes(path []string, old, base, next *node) (*node, error) {
	switch base.id {
	case next.id:
		return old, nil
	case old.id:
		return next, nil
	}
	if old.kind == 0 {
		return next, nil // a leaf that has changed
	}
	if base.kind != old.kind || len(base.elements) != len(old.elements) {
		return nil, opaque(path)
	}
	switch {
	case next.kind != old.kind:
		return next, nil // something else in the place of all there was
	case old.kind == '{':
		return m.objects(path, old, base, next)
	}
	return m.arrays(path, old, base, next)
}

func opaque(path any) error {
	return fmt.Errorf("the type writes something else than it has read at %q", path)
}

func (m *merger) objects(path []string, old, base, next *node) (*node, error) {
	merged := &node{kind: '{', members: maps.Clone(next.members)}
	seen := make(map[string]bool)
	typeName := typeNames(old, base, next)
	for _, name := range old.names {
		was, as := old.members[name], typeName(name)
		if seen[as] {
			return nil, fmt.Errorf("several members differ from %q of %q in their case only", as, path)
		}
		seen[as] = true
		known, held := base.members[as]
		now, there := next.members[as]
		at := append(slices.Clip(path), as)
		switch {
		case held && there:
			n, err := m.nodes(at, was, known, now)
			if err != nil {
				return nil, err
			}
			merged.members[as] = n
		case held: // the function has removed it, or made it empty
			if rest := rest(was, known); rest != nil {
				m.resets = append(m.resets, reset{in: merged, path: at, rest: rest})
			}
		case there && was.kind == '{' && now.kind == '{': // the type has left it out before, as it was empty
			n, err := m.objects(at, was, &node{kind: '{'}, now)
			if err != nil {
				return nil, err
			}
			merged.members[as] = n
		case there && !hollow(was):
			return nil, opaque(at)
		case there:
		default:
			merged.members[name] = was
		}
	}
	return merged, nil
}

// rest returns what is in old and not in base, or nil.
func rest(old, base *node) *node {
	if old.id == base.id || old.kind != base.kind || len(old.elements) != len(base.elements) {
		return nil
	}
	some := false
	left := &node{kind: old.kind}
	switch old.kind {
	case '{':
		left.members = make(map[string]*node)
		typeName := typeNames(old, base)
		for name, was := range old.members {
			known, held := base.members[typeName(name)]
			if held {
				was = rest(was, known)
			}
			if was != nil {
				left.members[name], some = was, true
			}
		}
	case '[':
		for i, was := range old.elements {
			e := rest(was, base.elements[i])
			some = some || e != nil
			if e == nil {
				e = &node{raw: []byte("null")}
			}
			left.elements = append(left.elements, e)
		}
	}
	if !some {
		return nil
	}
	return left
}

// typeNames returns a function that tells the type's name of a member of old. It does
// as encoding/json, which does not mind the case of a name, and takes the first of
// those that differ in it only.
func typeNames(old *node, types ...*node) func(name string) string {
	var folded map[string]string
	return func(name string) string {
		for _, n := range types {
			if _, ok := n.members[name]; ok {
				return name
			}
		}
		if folded == nil {
			folded = make(map[string]string)
			for _, n := range types {
				for _, as := range n.names {
					if f := fold(as); folded[f] == "" {
						folded[f] = as
					}
				}
			}
		}
		as := folded[fold(name)]
		if _, ok := old.members[as]; ok || as == "" {
			return name
		}
		return as
	}
}

// arrays puts each element that has something besides in the place of one that the
// function has not changed. Those that are alike to the type stay in their order.
// Those for which there is no place were removed if next has no element that base does
// not have: otherwise that one may be what they have become.
func (m *merger) arrays(path []string, old, base, next *node) (*node, error) {
	places := make(map[int][]int) // in next, by what is there
	for i, n := range next.elements {
		places[n.id] = append(places[n.id], i)
	}
	merged := &node{kind: '[', elements: slices.Clone(next.elements)}
	met := make(map[int]int)     // how many of a kind came in old
	first := make(map[int]int)   // what is stored of the first of them
	differ := make(map[int]bool) // another one is stored otherwise
	short := make(map[int]bool)  // there are fewer of them in next
	for i, was := range old.elements {
		kind := base.elements[i].id
		n := met[kind]
		if n == 0 {
			first[kind] = was.id
		}
		differ[kind] = differ[kind] || first[kind] != was.id
		if n < len(places[kind]) {
			merged.elements[places[kind][n]] = was
		} else {
			short[kind] = true
		}
		met[kind]++
	}
	fresh := false
	for kind, at := range places {
		fresh = fresh || met[kind] < len(at)
	}
	for i, was := range old.elements {
		known := base.elements[i]
		if !short[known.id] || !differ[known.id] && (!fresh || was.kind == 0) {
			continue
		}
		at := fmt.Sprintf("%q[%d]", path, i)
		if err := m.covers(at, was, known, true); err != nil {
			return nil, fmt.Errorf("%s, or one like it, was changed or removed: %w", at, err)
		}
	}
	return merged, nil
}

// covers returns an error if old has a member that is not in base, or, if numbers is
// set, a number that the type rounds.
func (m *merger) covers(path string, old, base *node, numbers bool) error {
	if old.id == base.id {
		return nil
	}
	if old.kind == 0 {
		if numbers && number(old.raw) && number(base.raw) {
			return fmt.Errorf("the type rounds the number at %s", path)
		}
		return nil
	}
	if base.kind != old.kind || len(base.elements) != len(old.elements) {
		return opaque(path)
	}
	typeName := typeNames(old, base)
	for _, name := range old.names {
		was := old.members[name]
		known, ok := base.members[typeName(name)]
		if !ok && m.namesKnown && empty(was) {
			continue
		}
		if !ok {
			return fmt.Errorf("the type does not know %s.%s", path, name)
		}
		if err := m.covers(path+"."+name, was, known, numbers); err != nil {
			return err
		}
	}
	for i := range old.elements {
		if err := m.covers(fmt.Sprintf("%s[%d]", path, i), old.elements[i], base.elements[i], numbers); err != nil {
			return err
		}
	}
	return nil
}

// empty reports whether the option omitempty may leave n out.
func empty(n *node) bool {
	if n.kind != 0 {
		return len(n.members)+len(n.elements) == 0
	}
	return slices.Contains([]string{`null`, `false`, `0`, `""`}, string(canonical(n.raw)))
}

// hollow reports whether n is a leaf, or holds nothing but what is empty.
func hollow(n *node) bool {
	return n.kind == 0 || empty(n) || n.kind == '[' && !slices.ContainsFunc(n.elements, func(e *node) bool {
		return !empty(e) && (e.kind == 0 || !hollow(e))
	})
}
