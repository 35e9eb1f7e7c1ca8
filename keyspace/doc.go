// Package keyspace names locks and says where each one lives in etcd.
//
// A [Key] is the name of one lock: segments between slashes, as in
// "billing/account/42". [Parse] checks a name that came from elsewhere,
// [MustParse] one that is written in the source.
//
// A [Space] is a family of locks, one for each thing of a kind. It turns ids
// of one Go type into keys, so that a lock on an order cannot be taken with
// the id of a user, and so that every id, whatever its characters, has a lock
// of its own:
//
//	type UserID int64
//
//	var users = keyspace.MustNew[UserID]("user")
//
//	users.Key(42) // "user/42"
//
// [Key.Path] is the etcd directory in which the owners of a lock queue. No
// directory lies within another: whoever holds "a/b" never blocks "a".
//
// Keys and spaces are plain values. They compare with ==, serve as map keys,
// and may be used from several goroutines.
package keyspace
