// Package watchstream keeps the watches of this module on gRPC streams of their
// own, and replaces a stream on which etcd refuses watches.
//
// etcd's client sends all watches that have the same outgoing metadata over one
// gRPC stream. The stream carries the auth token with which it was opened. When
// that token has expired, running watches go on, but etcd refuses every new one
// on that stream, and the stream lives as long as one watch runs on it. A new
// value of a metadata key makes the client open another stream, with a new
// login. etcd ignores the key.
package watchstream
