// Package misuse does not compile: a comment says why, for each line that is wrong.
package misuse

import (
	"context"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

type (
	userID  int
	orderID int
)

var (
	users  = keyspace.MustNew[userID]("user")
	orders = keyspace.MustNew[orderID]("order")
)

type balance int64

func keys(id orderID) {
	_ = users.Key(id)           // want: cannot use id .* as userID value
	_ = users.Key("42")         // want: cannot use "42" .* as userID value
	_ = keyspace.MustNew[bool]  // want: bool does not satisfy keyspace.ID
	_ = keyspace.Key("user/42") // want: cannot convert "user/42"
	_ = users.Key(7) == orders  // want: mismatched types
	_ = orders.Key(id)
}

func guards(ctx context.Context, l *locker.Locker, b *guard.Guard[balance], s *guard.Guard[string]) {
	_ = guard.New(l, "user/42", guard.Stored(guard.JSON[balance]()))         // want: cannot use "user/42" .* as keyspace.Key value
	_ = guard.New[balance](l, users.Key(7), guard.Stored(guard.JSON[int]())) // want: cannot use guard.Stored.* as guard.Option\[balance\] value
	_ = guard.Stored(guard.Text[balance]())                                  // want: \*balance does not satisfy
	_ = guard.Stored[balance](guard.Bytes[string]())                         // want: cannot use guard.Bytes.* as guard.Codec\[balance\] value
	_ = guard.Bind[balance](shelf{})                                         // want: cannot use shelf.* as guard.Resource\[balance\] value

	_, _ = b.Update(ctx, func(ctx context.Context, cur int) (int, error) { return cur, nil })                                    // want: cannot use func.* as func\(ctx context.Context, cur balance\)
	_, _ = b.Update(ctx, func(ctx context.Context, cur balance) (string, error) { return "", nil })                              // want: cannot use func.* as func\(ctx context.Context, cur balance\)
	_ = guard.Update2(ctx, b, s, func(ctx context.Context, b balance, s balance) (balance, balance, error) { return b, s, nil }) // want: type func.* does not match
	_ = guard.UpdateN(ctx, []*guard.Guard[balance]{b, s}, nil)                                                                   // want: cannot use s .* as \*guard.Guard\[balance\] value
	var name string
	name, _ = b.Get(ctx)            // want: cannot use b.Get.* as string value
	for name = range b.Watch(ctx) { // want: cannot use name .* as string value
	}
	_ = name
}

// A shelf keeps strings.
type shelf struct{}

func (shelf) Load(context.Context) (string, error)              { return "", nil }
func (shelf) Store(context.Context, locker.Token, string) error { return nil }
