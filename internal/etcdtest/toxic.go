package etcdtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/phpgao/elock/internal/etcdtest/process"
)

// toxiproxy is the proxy server that all tests of the package share, started by the first that asks for it.
var toxiproxy struct {
	sync.Mutex
	server *toxiServer
	err    error
}

type toxiServer struct {
	proc *process.Process
	log  *os.File
	api  string // URL
}

func sharedToxiproxy() (*toxiServer, error) {
	toxiproxy.Lock()
	defer toxiproxy.Unlock()
	if toxiproxy.server == nil && toxiproxy.err == nil {
		toxiproxy.server, toxiproxy.err = startToxiproxy()
	}
	return toxiproxy.server, toxiproxy.err
}

func stopToxiproxy() {
	toxiproxy.Lock()
	defer toxiproxy.Unlock()
	if toxiproxy.server != nil {
		toxiproxy.server.stop()
	}
}

func startToxiproxy() (*toxiServer, error) {
	exe, err := process.Build(context.Background(), "toxiproxy")
	if err != nil {
		return nil, err
	}
	// Another process may take the port first.
	for range 5 {
		var s *toxiServer
		if s, err = launchToxiproxy(exe); err == nil {
			return s, nil
		}
	}
	return nil, err
}

func launchToxiproxy(exe string) (*toxiServer, error) {
	port, err := process.FreePort()
	if err != nil {
		return nil, err
	}
	log, err := os.CreateTemp("", "elock-toxiproxy-*.log")
	if err != nil {
		return nil, err
	}
	// Open files outlive their names, so a killed test run leaves no log behind. Windows refuses: stop tries again.
	os.Remove(log.Name())
	s := &toxiServer{log: log, api: fmt.Sprintf("http://127.0.0.1:%d", port)}
	mark := fmt.Sprintf("mark-%x", rand.Uint64())
	if s.proc, err = process.Start(exe, []string{strconv.Itoa(port), mark}, os.Environ(), log); err != nil {
		s.log.Close()
		return nil, err
	}
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if err = s.call("GET", "/proxies/"+mark, nil); err == nil {
			return s, nil
		}
		select {
		case <-s.proc.Done():
			err = errors.New("it ended")
		case <-deadline:
		case <-tick.C:
			continue
		}
		said, _ := io.ReadAll(io.NewSectionReader(log, 0, 4096))
		s.stop()
		return nil, fmt.Errorf("etcdtest: start toxiproxy: %w\n%s", err, said)
	}
}

func (s *toxiServer) stop() {
	s.proc.Kill()
	s.log.Close()
	os.Remove(s.log.Name())
}

// call sends one request to Toxiproxy's API, with in as JSON.
func (s *toxiServer) call(method, path string, in any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, s.api+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("toxiproxy: %s %s: %s: %s", method, path, resp.Status, answer)
	}
	return nil
}
