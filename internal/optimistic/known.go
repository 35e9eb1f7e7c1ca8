package optimistic

import (
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/keyspace"
)

const (
	// maxKnown is how many values a process remembers, and maxValue how large one of them is.
	maxKnown = 1024
	maxValue = 16 << 10
)

// A memory is what a process has written last, of some values.
type memory struct {
	mu sync.Mutex // guards of
	of map[keyspace.Key]memo
}

// A memo is a value as this process has written it.
type memo struct {
	kv   *mvccpb.KeyValue // shared: not to be changed
	sole bool             // nobody else has written it lately, as far as known
}

func (m *memory) recall(key keyspace.Key) memo {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.of[key]
}

// note remembers a value, and forgets another if there are too many.
func (m *memory) note(key keyspace.Key, of memo) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if of.kv == nil || len(of.kv.Value) > maxValue {
		delete(m.of, key)
		return
	}
	if m.of == nil {
		m.of = make(map[keyspace.Key]memo)
	}
	m.of[key] = of
	for other := range m.of {
		if len(m.of) <= maxKnown {
			return
		}
		if other != key {
			delete(m.of, other)
		}
	}
}
