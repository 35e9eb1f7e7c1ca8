package locker_test

import (
	"fmt"
	"testing"

	"github.com/phpgao/elock/locker"
)

func TestOwnersAndQueuesAreShortInLogs(t *testing.T) {
	t.Parallel()
	a, b := locker.Owner{Name: "a:1", Token: 65536}, locker.Owner{Name: "b:2", Shared: true, Token: 7}
	for _, c := range []struct {
		of   fmt.Stringer
		want string
	}{
		{a, "a:1 token 65536"},
		{b, "b:2 (shared) token 7"},
		{locker.Owner{Name: "c:3"}, "c:3"},
		{locker.Owner{Foreign: true, Token: 9}, "foreign owner token 9"},
		{locker.Queue{}, "free"},
		{locker.Queue{Holders: []locker.Owner{a}}, "held by a:1 token 65536"},
		{locker.Queue{Holders: []locker.Owner{b, b}, Waiters: []locker.Owner{a}}, "held by b:2 (shared) token 7, b:2 (shared) token 7; waiting: a:1 token 65536"},
	} {
		if got := c.of.String(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
