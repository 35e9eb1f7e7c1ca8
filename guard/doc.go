// Package guard binds a typed resource to the lock that protects it.
//
// A [Guard] of T runs functions that return (T, error) while the lock is held:
//
//	stock := keyspace.MustNew[string]("stock")
//	g := guard.New[Item](l, stock.Key("espresso"))
//	item, err := g.Run(ctx, func(ctx context.Context, h *locker.Hold) (Item, error) {
//		return sell(ctx, "espresso", h.Token())
//	})
//
// Run waits for its turn; TryRun does not. Both release the lock when the
// function has returned and not before, whatever happened in between.
package guard
