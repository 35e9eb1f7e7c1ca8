package guard_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/phpgao/elock/guard"
	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/locker"
)

// A client that has a token, and no user and password, cannot log in anew.
func TestADeadTokenThatTheProgramGaveTheClientIsToldAtOnce(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]etcdtest.AuthConfig{
		"JWT":          {TokenTTL: 3 * time.Second, JWT: true},
		"simple token": {TokenTTL: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			etcd := etcdtest.StartAuth(t, cfg)
			s := store{etcd.Server, etcd.Root(t), etcd.Prefix(t)}
			app := etcd.Client(t)
			login, err := app.Authenticate(t.Context(), app.Username, app.Password)
			if err != nil {
				t.Fatal(err)
			}
			given := etcd.Client(t, func(c *clientv3.Config) { c.Username, c.Password, c.Token = "", "", login.Token })
			quiet := locker.WithLogger(slog.New(slog.DiscardHandler))
			l, err := locker.New(given, locker.WithPrefix(s.prefix), quiet)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			g := counter(l)
			v, err := g.Update(t.Context(), increment)
			wantValue(t, v, err, 1)
			select {
			case <-t.Context().Done():
			case <-time.After(6 * time.Second): // nothing shows when etcd ends tokens
			}
			fresh, err := locker.New(given, locker.WithPrefix(s.prefix), quiet)
			if err != nil {
				t.Fatal(err)
			}
			defer fresh.Close()
			for what, call := range map[string]func(*guard.Guard[int]) error{
				"get":    func(g *guard.Guard[int]) error { _, err := g.Get(t.Context()); return err },
				"update": func(g *guard.Guard[int]) error { _, err := g.Update(t.Context(), increment); return err },
				"view": func(g *guard.Guard[int]) error {
					return g.View(t.Context(), func(context.Context, int) error { return nil })
				},
				"watch": func(g *guard.Guard[int]) (err error) {
					for _, err = range g.Watch(t.Context()) {
					}
					return err
				},
			} {
				for _, g := range []*guard.Guard[int]{g, counter(fresh)} {
					began := time.Now()
					wantErr(t, call(g), rpctypes.ErrInvalidAuthToken)
					took := time.Since(began)
					t.Logf("%s: %v", what, took)
					if took > 5*time.Second {
						t.Errorf("%s: told after %v", what, took)
					}
				}
			}
			s.wantStored(t, key, "1")
			began := time.Now()
			wantErr(t, l.Close(), rpctypes.ErrInvalidAuthToken) // the lease stays until it expires
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("Close took %v", took)
			}
		})
	}
}
