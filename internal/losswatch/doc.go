// Package losswatch notices when keys of etcd go that are to stay. It knows keys, revisions and leases; whose they are and what is
// to be done about a loss it does not know.
//
// It looks once a second. Keys that are older than a second then get a watch, as most do not live that long. [keywatch] watches
// them all over one stream. Where the client's Watcher is wrapped, that is not possible: then a few keys have a watch each, and if
// there are many, one watch has all of them.
//
// # Invariants
//
//   - While the watch of a key is not in place, the key is read every second.
//   - Once it is in place, the key is read again: a watch does not report what was before it. So is an entry that takes the place
//     of another under the same key.
//   - All events of what is watched are passed on, also of keys that are too young to be followed.
//   - A read that fails is tried again, with pauses that grow, until etcd refuses it or the entry has ended.
//   - While there are no entries, it does nothing.
package losswatch
