package guard

import (
	"bytes"
	"encoding"
)

// A Codec turns a value into the bytes that are kept in etcd, and back. Its
// methods may be called from several goroutines.
type Codec[T any] interface {
	Marshal(value T) ([]byte, error)
	Unmarshal(data []byte) (T, error)
}

// A Merger is a Codec that sees what an update is about to replace. Where a value
// is stored, an update calls Merge and not Marshal.
//
// A Codec that wraps a Merger must have the method too: otherwise an update loses
// what Merge keeps.
type Merger[T any] interface {
	Codec[T]
	// Merge is Marshal, and keeps what is in old and a T does not hold. old is what
	// the function of the update was given, as it is stored. If Merge cannot keep it,
	// it returns an error that matches ErrLossy.
	Merge(old []byte, value T) ([]byte, error)
}

// merge is the Merge of a Codec that has it, and the Marshal of others.
func merge[T any](c Codec[T], old []byte, value T) ([]byte, error) {
	if m, ok := c.(Merger[T]); ok {
		return m.Merge(old, value)
	}
	return c.Marshal(value)
}

// Binary returns the codec of a type that marshals itself to bytes, such as
// time.Time: Binary[time.Time]().
func Binary[T any, P interface {
	*T
	encoding.BinaryMarshaler
	encoding.BinaryUnmarshaler
}]() Codec[T] {
	return binaryCodec[T, P]{}
}

type binaryCodec[T any, P interface {
	*T
	encoding.BinaryMarshaler
	encoding.BinaryUnmarshaler
}] struct{}

func (binaryCodec[T, P]) Marshal(value T) ([]byte, error) { return P(&value).MarshalBinary() }

func (binaryCodec[T, P]) Unmarshal(data []byte) (value T, err error) {
	err = P(&value).UnmarshalBinary(data)
	return value, err
}

// Text returns the codec of a type that marshals itself to text, such as
// netip.Addr: Text[netip.Addr]().
func Text[T any, P interface {
	*T
	encoding.TextMarshaler
	encoding.TextUnmarshaler
}]() Codec[T] {
	return textCodec[T, P]{}
}

type textCodec[T any, P interface {
	*T
	encoding.TextMarshaler
	encoding.TextUnmarshaler
}] struct{}

func (textCodec[T, P]) Marshal(value T) ([]byte, error) { return P(&value).MarshalText() }

func (textCodec[T, P]) Unmarshal(data []byte) (value T, err error) {
	err = P(&value).UnmarshalText(data)
	return value, err
}

// Bytes returns the codec that keeps bytes, or a string, as they are.
func Bytes[T ~[]byte | ~string]() Codec[T] { return bytesCodec[T]{} }

type bytesCodec[T ~[]byte | ~string] struct{}

func (bytesCodec[T]) Marshal(value T) ([]byte, error)  { return []byte(value), nil }
func (bytesCodec[T]) Unmarshal(data []byte) (T, error) { return T(bytes.Clone(data)), nil }
