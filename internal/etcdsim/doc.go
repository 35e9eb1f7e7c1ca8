// Package etcdsim is an etcd in memory behind etcd's own client code, with faults on demand.
//
// A [Sim] is the cluster: one store of keys, revisions, leases and watches that answers as etcd does. Each [Client] is one
// process: a clientv3.Client whose KV, Lease and Watcher are etcd's, on a network path of its own that can delay, lose and
// hold back messages. All time comes from the Go clock, and everything waits on channels and timers, so that inside a
// testing/synctest bubble hours pass at once; it works outside of one too.
//
// Without faults no message takes time, and the scheduler alone orders those of one moment; with random delays, it is the
// seed that does. Unlike in a client with a connection, a failed read is not repeated before the caller hears of it.
//
// A member's disk, elections and quorum are not modelled, only what clients see of them. Of authentication there are tokens,
// not users and roles. The cluster and maintenance calls, streamed ranges, periodic progress notices and fragments of large
// events are left out.
package etcdsim
