// Package sql guards a row of an SQL database: a recipe to copy.
//
// [Account] is a guard.Claimer of three statements, each one step of the
// database. They work as they are with PostgreSQL and SQLite; the tests run them
// with both.
//
//	balance := guard.New(l, accounts.Key("ann"), guard.Bind[int64](sql.Account{DB: db, ID: "ann"}))
//	_, err := balance.Update(ctx, func(ctx context.Context, cents int64) (int64, error) {
//		return cents + 100, nil
//	})
//
// The row remembers the greatest token that it has seen. Claim raises it, so
// that whoever held the lock before cannot store any more; Store writes only if
// nobody has claimed the row since.
package sql
