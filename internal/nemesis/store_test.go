package nemesis_test

import (
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"sync"
)

// A store keeps a register for each key and takes tokens for the only truth: whoever comes with an older one than it has
// seen is refused. It lives in the test's own process, which no fault strikes.
type store struct {
	listener net.Listener

	mu       sync.Mutex
	cells    map[int]*cell
	visits   map[visitor]int64 // when a client last came under a lock
	accepted int
	refused  int
	lost     []string // updates
}

type cell struct {
	token  uint64
	value  int64
	client int // that came last
}

type visitor struct{ client, key int }

// A Visit is what a client says to the store.
type Visit struct {
	Client, Key int
	Token       uint64
	Prev, Value int64 // of a write
}

var errStale = errors.New("stale token")

func newStore() (*store, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &store{listener: l, cells: make(map[int]*cell), visits: make(map[visitor]int64)}
	server := rpc.NewServer()
	if err := server.RegisterName("Store", s); err != nil {
		l.Close()
		return nil, err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			go server.ServeConn(conn) // until the client ends
		}
	}()
	return s, nil
}

// Read is the first thing that a holder does: from then on, earlier holders are refused.
func (s *store) Read(v Visit, value *int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.enter(v)
	if err != nil {
		return err
	}
	*value = c.value
	return nil
}

// Write replaces what the same holder has read.
func (s *store) Write(v Visit, _ *struct{}) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.enter(v)
	if err != nil {
		return err
	}
	if c.value != v.Prev {
		s.lost = append(s.lost, fmt.Sprintf("key %d: client %d wrote %d over %d, having read %d, with token %d",
			v.Key, v.Client, v.Value, c.value, v.Prev, v.Token))
	}
	c.value = v.Value
	s.accepted++
	return nil
}

func (s *store) enter(v Visit) (*cell, error) {
	c := s.cells[v.Key]
	if c == nil {
		c = new(cell)
		s.cells[v.Key] = c
	}
	if v.Token < c.token {
		s.refused++
		return nil, errStale
	}
	c.token, c.client = v.Token, v.Client
	s.visits[visitor{v.Client, v.Key}] = now()
	return c, nil
}

// visited reports whether the client was there under a lock of key after t.
func (s *store) visited(client, key int, t int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.visits[visitor{client, key}] > t
}

// last returns the client that was there last under a lock of key, or 0.
func (s *store) last(key int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.cells[key]; c != nil {
		return c.client
	}
	return 0
}

// writes is how many were accepted.
func (s *store) writes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}
