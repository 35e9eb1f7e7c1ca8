package work

import (
	"testing"
	"time"
)

// Exclude fails the test if two goroutines of several processes can hold one key at once, or one holds it for ever. What is
// compared must lock: figures of a lock that does not are worth nothing.
func Exclude(t *testing.T, s *Site, impl Impl, processes, goroutines int) {
	t.Helper()
	exclude(t, contend(t, s, impl, processes, goroutines))
}

func exclude(t *testing.T, members []*member) {
	t.Helper()
	const rounds = 10
	if err := take(t.Context(), members, rounds); err != nil {
		t.Error(err)
	}
	if h := handovers(members); h.n == 0 {
		t.Error("the lock did not change hands")
	}
}

// contend returns the goroutines of several processes that all want one key.
func contend(tb testing.TB, s *Site, impl Impl, processes, goroutines int) (members []*member) {
	tb.Helper()
	c := &crowd{began: time.Now()}
	for range processes {
		p := impl.Open(tb, s)
		for range goroutines {
			members = append(members, &member{next: always(p()(0)), crowd: c})
		}
	}
	return members
}
