package etcdsim

import _ "unsafe" // for go:linkname

// etcd's client gives each stream of watches a context whose Done is this channel, which nobody ever closes. It is made at
// start-up, outside of any synctest bubble, and a goroutine that waits on it would stop a bubble's time. Nil means the same.
//
//go:linkname neverDone go.etcd.io/etcd/client/v3.valCtxCh
var neverDone chan struct{}

func init() { neverDone = nil }
