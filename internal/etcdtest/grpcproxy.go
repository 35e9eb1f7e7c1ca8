package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/phpgao/elock/internal/etcdtest/member"
	"github.com/phpgao/elock/internal/etcdtest/mode"
	"github.com/phpgao/elock/internal/etcdtest/process"
)

// GRPCProxy starts etcd's own gRPC proxy before the endpoints, without TLS. It returns the proxy's endpoint, and the proxy
// goes away with the test.
func GRPCProxy(tb testing.TB, endpoints []string) string {
	tb.Helper()
	g, err := startGatekeeper(tb.Context(), mode.Version(), endpoints)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(g.stop)
	return g.endpoint
}

// ThroughGRPCProxy is s as its clients see it through a gRPC proxy of the test's own.
func (s *Server) ThroughGRPCProxy(tb testing.TB) *Server {
	tb.Helper()
	proxied := *s
	proxied.direct, proxied.endpoints = s.endpoints, []string{GRPCProxy(tb, s.endpoints)}
	return &proxied
}

// gatekeeper is a gRPC proxy of etcd's.
type gatekeeper struct {
	endpoint string
	proc     *process.Process
	log      *os.File
}

func startGatekeeper(ctx context.Context, version string, endpoints []string) (*gatekeeper, error) {
	exe, err := member.Executable(ctx, version)
	if err != nil {
		return nil, err
	}
	run := process.Start
	if version == member.V34 {
		run = process.StartForeign
	}
	for range 5 { // another process may take the port first
		var g *gatekeeper
		if g, err = newGatekeeper(exe, run, endpoints); err != nil {
			return nil, err
		}
		if err = g.waitReady(ctx); err == nil {
			return g, nil
		}
		said, _ := io.ReadAll(io.NewSectionReader(g.log, 0, 4096))
		g.stop()
		err = fmt.Errorf("etcdtest: start gRPC proxy: %w\n%s", err, said)
	}
	return nil, err
}

func newGatekeeper(exe string, run func(string, []string, []string, *os.File) (*process.Process, error), endpoints []string) (
	*gatekeeper, error,
) {
	port, err := process.FreePort()
	if err != nil {
		return nil, err
	}
	log, err := os.CreateTemp("", "elock-grpc-proxy-*.log")
	if err != nil {
		return nil, err
	}
	os.Remove(log.Name()) // as toxiproxy's
	g := &gatekeeper{endpoint: fmt.Sprintf("127.0.0.1:%d", port), log: log}
	g.proc, err = run(exe, []string{
		"grpc-proxy", "start", "--endpoints=" + strings.Join(endpoints, ","), "--listen-addr=" + g.endpoint,
	}, os.Environ(), log)
	if err != nil {
		log.Close()
		return nil, fmt.Errorf("etcdtest: start gRPC proxy: %w", err)
	}
	return g, nil
}

// waitReady returns once etcd answers through the proxy, be it that auth is on and a nobody may not read.
func (g *gatekeeper) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client, err := (&Server{endpoints: []string{g.endpoint}}).dial()
	if err != nil {
		return err
	}
	defer client.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		try, cancel := context.WithTimeout(ctx, time.Second)
		_, err := client.Get(try, "elock")
		cancel()
		select {
		case <-g.proc.Done():
			return errors.New("it ended")
		default:
		}
		if err == nil || errors.Is(err, rpctypes.ErrUserEmpty) {
			return nil
		}
		select {
		case <-g.proc.Done():
			return errors.New("it ended")
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

func (g *gatekeeper) stop() {
	g.proc.Kill()
	g.log.Close()
	os.Remove(g.log.Name())
}
