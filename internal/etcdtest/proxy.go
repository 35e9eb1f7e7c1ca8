package etcdtest

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/internal/etcdtest/process"
)

// Proxied is a TCP proxy before one endpoint, with a network that can be made bad. Its methods have taken effect when they
// return; they fail the test if they cannot. They are not for several goroutines at once.
type Proxied struct {
	server   *toxiServer
	name     string
	endpoint string
	upstream string
	exists   bool     // in the server: while cut, it does not
	toxics   []string // their names
	vanished bool     // bytes were lost, so what connections carry makes no sense any more
}

// Proxy puts a proxy before endpoint (host:port), healthy at first and removed when the test ends.
func Proxy(tb testing.TB, endpoint string) *Proxied {
	tb.Helper()
	server, err := sharedToxiproxy()
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxied{
		server:   server,
		name:     fmt.Sprintf("%s-%x", safe(tb.Name()), rand.Uint64()),
		upstream: endpoint,
	}
	for range 5 { // another process may take the port first
		var port int
		if port, err = process.FreePort(); err != nil {
			tb.Fatal(err)
		}
		p.endpoint = fmt.Sprintf("127.0.0.1:%d", port)
		if err = p.create(true); err == nil {
			break
		}
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.Cut(tb) })
	return p
}

// Endpoint is the proxy's own address: host:port.
func (p *Proxied) Endpoint() string { return p.endpoint }

// Client returns a new client that sees etcd through the proxy, closed when the test ends.
// It is the same user's as the server's.
func (p *Proxied) Client(tb testing.TB, edits ...func(*clientv3.Config)) *clientv3.Client {
	tb.Helper()
	return behind(p.endpoint, p.upstream).Client(tb, edits...)
}

// Cut closes all connections and refuses new ones.
func (p *Proxied) Cut(tb testing.TB) {
	tb.Helper()
	if !p.exists {
		return
	}
	// Toxiproxy forgets the connections with the proxy: changing toxics on one that is just closing can hang it.
	p.call(tb, "DELETE", p.path(), nil)
	p.exists, p.toxics, p.vanished = false, nil, false
}

// BlackHole swallows all bytes, both ways; connections stay open and new ones are accepted.
func (p *Proxied) BlackHole(tb testing.TB) {
	tb.Helper()
	if p.vanished {
		return
	}
	p.toxic(tb, "timeout", map[string]any{"timeout": 0})
	p.vanished = true
}

// Delay holds every byte back for d, give or take up to jitter, each way: a round trip takes twice that. Whole milliseconds.
func (p *Proxied) Delay(tb testing.TB, d, jitter time.Duration) {
	tb.Helper()
	p.mend(tb)
	p.toxic(tb, "latency", map[string]any{"latency": d.Milliseconds(), "jitter": jitter.Milliseconds()})
}

// Heal makes the network good again. After a BlackHole connections are closed, since their bytes are lost; after a Delay
// they go on.
func (p *Proxied) Heal(tb testing.TB) {
	tb.Helper()
	p.mend(tb)
	if !p.exists {
		if err := p.create(true); err != nil {
			tb.Fatal(err)
		}
	}
}

// mend leaves a proxy that is healthy or cut.
func (p *Proxied) mend(tb testing.TB) {
	tb.Helper()
	if p.vanished {
		p.Cut(tb)
	}
	for _, name := range p.toxics {
		p.call(tb, "DELETE", p.path()+"/toxics/"+name, nil)
	}
	p.toxics = nil
}

// toxic adds one to both directions. After a cut, no connection is let in before it is in place.
func (p *Proxied) toxic(tb testing.TB, kind string, attributes map[string]any) {
	tb.Helper()
	cut := !p.exists
	if cut {
		if err := p.create(false); err != nil {
			tb.Fatal(err)
		}
	}
	for _, stream := range []string{"upstream", "downstream"} {
		name := kind + "-" + stream
		p.call(tb, "POST", p.path()+"/toxics", map[string]any{
			"name": name, "type": kind, "stream": stream, "attributes": attributes,
		})
		p.toxics = append(p.toxics, name)
	}
	if cut {
		p.call(tb, "POST", p.path(), map[string]any{"enabled": true})
	}
}

func (p *Proxied) create(enabled bool) error {
	err := p.server.call("POST", "/proxies", map[string]any{
		"name": p.name, "listen": p.endpoint, "upstream": p.upstream, "enabled": enabled,
	})
	p.exists = err == nil
	return err
}

func (p *Proxied) path() string { return "/proxies/" + p.name }

func (p *Proxied) call(tb testing.TB, method, path string, in any) {
	tb.Helper()
	if err := p.server.call(method, path, in); err != nil {
		tb.Fatal(err)
	}
}
