package keyspace_test

import (
	"errors"
	"fmt"

	"github.com/phpgao/elock/keyspace"
)

func ExampleParse() {
	k, err := keyspace.Parse("billing/account/42")
	fmt.Println(k, err)

	_, err = keyspace.Parse("billing//42")
	fmt.Println(err)
	fmt.Println(errors.Is(err, keyspace.ErrInvalid))
	// Output:
	// billing/account/42 <nil>
	// keyspace: invalid name "billing//42": empty segment: a slash at an end, or two in a row
	// true
}

func ExampleSpace() {
	type UserID int64
	users := keyspace.MustNew[UserID]("user")
	fmt.Println(users.Key(42))
	fmt.Println(users.Key(42) == keyspace.MustParse("user/42"))

	// Any string is an id, with a lock of its own.
	files := keyspace.MustNew[string]("file")
	fmt.Println(files.Key("go.mod"))
	fmt.Println(files.Key("docs/a.txt"))
	fmt.Println(files.Key("docs/a.txt").Space())
	// Output:
	// user/42
	// true
	// file/go.mod
	// file/%/=docs%2Fa.txt
	// file
}

func ExampleKey_Path() {
	fmt.Println(keyspace.MustParse("my-key").Path("elock"))
	fmt.Println(keyspace.MustParse("billing/account/42").Path("elock"))
	fmt.Println(keyspace.MustParse("my-key").Path("team/shop"))
	fmt.Println(keyspace.MustParse("10:30 50%").Path("elock"))
	// Output:
	// /elock/my-key/
	// /elock/billing:/account:/42/
	// /team:/shop/my-key/
	// /elock/10%3A30 50%25/
}
