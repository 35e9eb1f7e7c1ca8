package etcdtest_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest"
)

func TestACutClosesConnectionsAndRefusesNewOnes(t *testing.T) {
	p, client := behindProxy(t)
	conn := connect(t, p)
	p.Cut(t)
	if err := read(t, conn); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("an old connection: %v", err)
	}
	if conn, err := net.Dial("tcp", p.Endpoint()); err == nil {
		conn.Close()
		t.Error("a new connection was accepted")
	}
	if err := get(t, client, 300*time.Millisecond); err == nil {
		t.Error("a call went through")
	}
	p.Heal(t)
	eventually(t, func(context.Context) error { return get(t, client, 5*time.Second) })
}

func TestABlackHoleSwallowsCallsAndKeepsConnections(t *testing.T) {
	p, client := behindProxy(t)
	conn := connect(t, p)
	p.BlackHole(t)
	if err := get(t, client, 300*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call: %v", err)
	}
	if err := read(t, conn); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("an old connection: %v", err)
	}
	if err := read(t, connect(t, p)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a new connection: %v", err)
	}
	p.Heal(t)
	eventually(t, func(context.Context) error { return get(t, client, 5*time.Second) })
}

func TestADelayHoldsCallsBack(t *testing.T) {
	p, client := behindProxy(t)
	const delay = 150 * time.Millisecond
	timed := func() time.Duration {
		start := time.Now()
		if err := get(t, client, 10*time.Second); err != nil {
			t.Error(err)
		}
		return time.Since(start)
	}
	p.Delay(t, delay, 0)
	if took := timed(); took < 2*delay {
		t.Errorf("took %v, want at least %v", took, 2*delay)
	}
	p.Heal(t)
	eventually(t, func(context.Context) error {
		if took := timed(); took > delay {
			return errors.New("healed, and took " + took.String())
		}
		return nil
	})
}

func TestAProxyFollowsEveryChangeUnderTraffic(t *testing.T) {
	p, client := behindProxy(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			call, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			client.Get(call, "/k")
			cancel()
		}
	}()
	changes := []func(){
		func() { p.Cut(t) },
		func() { p.Heal(t) },
		func() { p.BlackHole(t) },
		func() { p.Delay(t, 5*time.Millisecond, 2*time.Millisecond) },
	}
	for range 200 {
		changes[rand.IntN(len(changes))]()
	}
	stop()
	<-ended
	p.Heal(t)
	eventually(t, func(context.Context) error { return get(t, client, 5*time.Second) })
}

// behindProxy gives a client of the shared server that is connected through a proxy.
func behindProxy(t *testing.T) (*etcdtest.Proxied, *clientv3.Client) {
	t.Helper()
	p := etcdtest.Proxy(t, etcdtest.Start(t).Endpoints()[0])
	client := p.Client(t)
	if err := get(t, client, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	return p, client
}

func get(t *testing.T, client *clientv3.Client, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	_, err := client.Get(ctx, "/k")
	return err
}

func connect(t *testing.T, p *etcdtest.Proxied) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// read is the error of reading from conn for a moment.
func read(t *testing.T, conn net.Conn) error {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, err := conn.Read(make([]byte, 1))
	return err
}
