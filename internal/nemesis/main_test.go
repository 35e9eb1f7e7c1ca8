package nemesis_test

import (
	"os"
	"testing"

	"github.com/phpgao/elock/internal/etcdtest"
)

// clientVar makes this test binary a client; its value is the client's settings.
const clientVar = "ELOCK_NEMESIS_CLIENT"

func TestMain(m *testing.M) {
	if s := os.Getenv(clientVar); s != "" {
		runClient(s)
		return
	}
	etcdtest.Main(m)
}
