package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

var ports struct {
	sync.Mutex
	given map[int]bool
}

// FreePort returns a loopback port that nothing listens on and that this process was not given before.
//
// It lies below the ports that systems hand out for outgoing connections, so that a killed server's port is not taken
// by the client that tries to reach it. Another process can still take it first: callers retry.
func FreePort() (int, error) {
	ports.Lock()
	defer ports.Unlock()
	for range 1000 {
		port := 10000 + rand.IntN(20000)
		if ports.given[port] {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		l.Close()
		if ports.given == nil {
			ports.given = make(map[int]bool)
		}
		ports.given[port] = true
		return port, nil
	}
	return 0, errors.New("process: no free loopback port")
}
