package guard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// JSON returns the codec of encoding/json, as a Merger: an update loses nothing that
// is stored and T does not hold, such as fields that a newer version of the program
// has added.
//
// An update changes what its function has changed, and leaves the rest as it is
// stored:
//
//   - Members of objects that T does not know stay where they are, in structs
//     within structs, behind pointers, in embedded structs and in the entries of maps.
//     They go when the function removes what they are in: an entry of a map, or a
//     pointer that becomes nil. They stay in a struct that becomes zero and is left
//     out, as with the option omitzero.
//   - An element of a slice or an array that has such members, or within it a number
//     that T rounds, may move, or be removed, but not be changed: nothing tells then
//     which one it was, and the error is ErrLossy. So it is if the function removes one
//     and adds another, or if it removes one of several that T cannot tell apart and
//     that differ in what is stored. Those that T cannot tell apart stay in their
//     order. Other elements may change.
//   - A number, string or boolean that the function has not changed stays as it is
//     written, also where T rounds it. In an element that has changed, it is written
//     as T writes it, with the same value.
//   - The same holds for types with a MarshalJSON of their own, as far as it writes
//     what their UnmarshalJSON has read. If it writes something else than an object
//     in the place of one, or an array of another length, its value may not change:
//     the error is ErrLossy. So it is if T would not read from the result what the
//     function has returned. But where such a value becomes zero and the option
//     omitzero leaves it out, all that is stored for it goes.
//
// A number that is decoded into an any is a json.Number, which holds it exactly.
//
// RefuseUnknown and DropUnknown change what becomes of unknown members. Of several
// options the last counts. A new value has what json.Marshal writes: a string that is
// not UTF-8 does not survive that. Of members of the same name in one object, the
// last counts.
func JSON[T any](opts ...JSONOption) Codec[T] {
	var c jsonCodec[T]
	for _, o := range opts {
		c.unknown = o.unknown
	}
	return c
}

// A JSONOption says what becomes of members of JSON objects that the type of a guard
// does not hold. The zero JSONOption keeps them, as is the default.
type JSONOption struct{ unknown unknown }

type unknown int

const (
	keepUnknown unknown = iota
	refuseUnknown
	dropUnknown
)

// RefuseUnknown makes an update of a value with unknown members fail with ErrLossy,
// whatever its function has changed. Get, View and Watch show such a value.
func RefuseUnknown() JSONOption { return JSONOption{refuseUnknown} }

// DropUnknown makes an update store what json.Marshal writes, and nothing else: for
// a type that reads an older form of its value and writes another one.
func DropUnknown() JSONOption { return JSONOption{dropUnknown} }

type jsonCodec[T any] struct{ unknown unknown }

func (jsonCodec[T]) Marshal(value T) ([]byte, error) { return json.Marshal(value) }

func (jsonCodec[T]) Unmarshal(data []byte) (value T, err error) {
	return decodeAll[T](newDecoder(data))
}

func newDecoder(data []byte) *json.Decoder {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	return dec
}

// decodeAll decodes a single value, and nothing after it.
func decodeAll[T any](dec *json.Decoder) (value T, err error) {
	err = dec.Decode(&value)
	switch {
	case errors.Is(err, io.EOF):
		return value, io.ErrUnexpectedEOF
	case err != nil:
		return value, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return value, errors.New("there is something after the JSON value")
	}
	return value, nil
}

// known returns what a T holds of data.
func (c jsonCodec[T]) known(data []byte) ([]byte, error) {
	value, err := c.Unmarshal(data)
	if err != nil {
		return nil, err
	}
	return json.Marshal(value)
}

// Merge compares three documents: what is stored, what T holds of that, and what T
// writes for the new value.
func (c jsonCodec[T]) Merge(old []byte, value T) ([]byte, error) {
	data, err := json.Marshal(value)
	if err != nil || c.unknown == dropUnknown {
		return data, err
	}
	base, err := c.known(old)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLossy, err)
	}
	if bytes.Equal(old, base) {
		return data, nil // T wrote it
	}
	dec := newDecoder(old)
	dec.DisallowUnknownFields()
	_, unknownName := decodeAll[T](dec)
	if c.unknown == refuseUnknown && unknownName != nil {
		return nil, fmt.Errorf("%w: %w", ErrLossy, unknownName)
	}
	m := merger{parser: newParser(), namesKnown: unknownName == nil, strict: c.unknown == refuseUnknown, known: c.known}
	merged, err := m.merge(old, base, data)
	if err == nil {
		err = c.same(merged, data)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLossy, err)
	}
	return merged, nil
}

// same returns an error unless a T holds the same of both.
func (c jsonCodec[T]) same(a, b []byte) error {
	if bytes.Equal(a, b) {
		return nil
	}
	var nodes [2]*node
	p := newParser()
	for i, data := range [][]byte{a, b} {
		known, err := c.known(data)
		if err == nil {
			nodes[i], err = p.parse(known)
		}
		if err != nil {
			return err
		}
	}
	if nodes[0].id != nodes[1].id {
		return errors.New("with what is stored besides, the value reads as another one")
	}
	return nil
}
