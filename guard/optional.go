package guard

// Optional is Stored for a value that the guard's functions may find absent, and may
// delete: its guard is of type *T, and the value is nil where none is stored. An
// Update, Update2 or UpdateN whose function returns nil deletes the value in its
// commit. The codec never sees nil. An update that finds nothing stored, and whose
// function returns nil only, commits nothing: it releases the lock, and does not
// notice a value that somebody has stored without the lock meanwhile.
//
//	session := guard.New(l, key, guard.Optional(guard.JSON[Session]()))
//	_, err := session.Update(ctx, func(ctx context.Context, cur *Session) (*Session, error) {
//		if cur == nil || cur.Users == 1 {
//			return nil, nil // nobody is left
//		}
//		cur.Users--
//		return cur, nil
//	})
func Optional[T any](codec Codec[T]) Option[*T] {
	return func(g *Guard[*T]) {
		if codec == nil {
			g.fail(invalid("nil Codec"))
			return
		}
		g.keep(stored[*T]{g: g, codec: pointerCodec[T]{codec}, absent: func(value *T) bool { return value == nil }})
	}
}

// A pointerCodec is a codec of values for pointers to them, but not for nil.
type pointerCodec[T any] struct{ of Codec[T] }

func (c pointerCodec[T]) Marshal(value *T) ([]byte, error) { return c.of.Marshal(*value) }

func (c pointerCodec[T]) Merge(old []byte, value *T) ([]byte, error) {
	return merge(c.of, old, *value)
}

func (c pointerCodec[T]) Unmarshal(data []byte) (*T, error) {
	value, err := c.of.Unmarshal(data)
	return &value, err
}
