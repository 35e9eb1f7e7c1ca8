package locker_test

import (
	"testing"

	"github.com/phpgao/elock/internal/locktest"
)

func TestMain(m *testing.M) { locktest.Main(m) }
