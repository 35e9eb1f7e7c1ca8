// Package lease keeps the leases of a process in etcd: it grants them, renews
// them, knows until when they surely live, and revokes them when nobody uses
// them any more. It knows nothing of what is put under them.
//
// A [Set] has one pool of leases for each TTL. A lease takes up to MaxKeys
// users; then the pool grants another. Etcd with authentication checks, at each
// put under a lease, the permission for every key of it: a small lease keeps
// that cheap. (etcd 3.7.3: server/etcdserver/apply/auth.go, checkLeasePutsKeys.)
//
// One goroutine, the keeper, looks after all leases of a Set: when to renew one,
// how long to wait for the answer, when to give it up. Package renewal carries
// the renewals, all over one stream: etcd's client logs in for each stream.
//
// # Invariants
//
//   - The deadline of a lease counts from before its last answered renewal was
//     sent. It comes a tenth of the TTL early.
//   - A deadline that has passed never moves again.
//   - Lost is set before OnLost is called, so a user that registers itself and
//     then looks at Lost is either found by OnLost or sees the loss.
//   - A lease that is lost at its deadline was at risk for a quarter of its TTL before that, and OnRisk was called, unless
//     the process stood still.
//   - A retired lease takes no users, and is revoked.
package lease
