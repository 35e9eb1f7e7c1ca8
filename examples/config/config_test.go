package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/phpgao/elock/internal/etcdtest"
)

func TestMain(m *testing.M) { etcdtest.Main(m) }

func TestEveryServerSeesEveryCommittedValueInOrder(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), &out)
	t.Logf("the program printed:\n%s", &out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"allow 500 at once: refused: invalid limits: 500 at once are more than 200 a second\n",
		"    web-3: 100 a second, 25 at once\n",
		"check passed: 3 servers have seen all 5 values, in order\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q", want)
		}
	}
}
