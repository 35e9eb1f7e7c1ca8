package once_test

import (
	"testing"

	"github.com/phpgao/elock/internal/etcdtest"
)

func TestMain(m *testing.M) { etcdtest.Main(m) }
