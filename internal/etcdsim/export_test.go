package etcdsim

import "google.golang.org/grpc"

// NewAt is New for a store that has a past without keys.
func NewAt(rev, compacted int64) *Sim {
	s := New(1)
	s.rev, s.compacted = rev, compacted
	return s
}

// Conn is the client as the code generated from etcd's protobufs sees it.
func (c *Client) Conn() grpc.ClientConnInterface { return (*transport)(c) }
