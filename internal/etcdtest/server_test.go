package etcdtest_test

import (
	"testing"

	"github.com/phpgao/elock/internal/etcdtest"
)

func TestASharedServerServes(t *testing.T) {
	client := etcdtest.Start(t).Client(t)
	if _, err := client.Put(t.Context(), "/k", "v"); err != nil {
		t.Fatal(err)
	}
}
