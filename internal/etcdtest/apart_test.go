package etcdtest_test

import (
	"testing"
	"time"

	"github.com/phpgao/elock/internal/etcdtest"
)

func TestMembersThatAreApartTakeLongerToAgree(t *testing.T) {
	const rtt = 40 * time.Millisecond
	c := etcdtest.StartClusterApart(t, 3, rtt)
	client := c.Leader(t).Client(t)
	if _, err := client.Get(t.Context(), "key"); err != nil { // connects
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := client.Put(t.Context(), "key", "value"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < rtt {
		t.Errorf("a write took %v", took)
	}
}
