// Package guard binds a typed resource to the lock that protects it.
//
// # Values in etcd
//
// A lock alone cannot stop a process that stood still from writing late. A value
// that is [Stored] stops it: the value lies in etcd beside its lock, and an
// update is committed only while the lock is held and the value is the one that
// was read.
//
//	stock := keyspace.MustNew[SKU]("stock")
//	kettle := guard.New(l, stock.Key("kettle"), guard.Stored(guard.JSON[Item]()))
//	item, err := kettle.Update(ctx, func(ctx context.Context, cur Item) (Item, error) {
//		cur.Sold++
//		return cur, nil
//	})
//
// A [Guard.Update] that nobody disturbs takes two round trips: one acquires the
// lock and reads the value, the other commits it and releases the lock. If the
// lock was lost, or somebody wrote without it, the error is [ErrFenced] and
// nothing was stored. A lost answer is looked up, so that an error means that
// nothing was stored, except for locker.ErrOutcomeUnknown.
//
// It is one round trip where locker.WithRetain keeps the lock, and with the option
// [Optimistic], which does without the lock while nobody else wants it.
//
// [Guard.Get] reads the value without the lock, [Guard.Watch] yields it and then
// every commit, and [Guard.View] keeps it from changing while a function runs. A
// [Version] tells a zero T that is stored from a value that is not.
// [Update2] and [UpdateN] update several values at once: all, or none. [Guard.Delete]
// deletes one; the functions of an [Optional] one may look before they do.
//
// A [Codec] makes bytes of a value: [JSON], which keeps what other versions of a
// program have stored, [Text], [Binary], [Bytes], or one of your own.
//
// # Values elsewhere
//
// With [Bind], the value is kept by a [Resource] of two methods, Load and Store.
// Store gets the lock's token, and must refuse a token older than one that it
// has seen. A [Claimer] is safe even between a Load and its Store. examples/sql
// has one for a row of PostgreSQL or SQLite.
//
// # Any code
//
// Without a resource, a [Guard] of T runs functions that return (T, error) while
// the lock is held:
//
//	g := guard.New[Report](l, keyspace.MustParse("reports/nightly"))
//	report, err := g.Run(ctx, func(ctx context.Context, h *locker.Hold) (Report, error) {
//		return write(ctx, h.Token())
//	})
//
// [Guard.Run] waits for its turn; [Guard.TryRun] does not. Both release the lock
// when the function has returned and not before, whatever happened in between.
package guard
