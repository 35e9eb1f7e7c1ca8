// Package feed watches keys of etcd for readers that come and go. All watches of a [Hub] go over one gRPC stream of their own, by
// the client's Watcher. It knows keys and revisions; what the keys mean it does not know.
//
// A [Feed] remembers which keys were deleted, and is shared by all who open it. It stays for a second after the last of
// them, so that it is in place when they come again. [Hub.Follow] watches for one caller, for as long as that likes.
// [Hub.First] waits for one event, which may be in the past, and [Hub.Since] tells all from a revision on.
//
// A feed watches from now on, without a start revision: etcd serves a watch that starts in the past from a slow group, only every
// 100ms. From the notice that the watch is in place it knows the revision from which on it misses nothing.
//
// # Invariants
//
//   - While Since is not 0, a feed knows every deletion after that revision, of the keys that it watches. So who has read a key at
//     Since or later, and finds no deletion of it, may conclude that the key is still there, as far as etcd has told: Changed is
//     closed when that is over.
//   - Since is 0 while no watch is in place. What was deleted meanwhile is never told: who waits has to read. What a feed knew
//     before stays true.
//   - Changed is closed at every change of what a feed knows, and for nothing else.
//   - A feed without a reader ends, and with the last feed the probes of the stream.
//   - A stream that does not place a watch, on which etcd refuses one, or that owes an answer to a probe for too long, is replaced,
//     and with it go all watches on it. Each replacement is done once, however many watches find that it is due.
package feed
