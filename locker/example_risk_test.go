package locker_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
)

// Work in steps: before each one, look whether there is time for it.
func ExampleHold_AtRisk() {
	client := dial()
	defer client.Close()
	l := open(client)
	defer l.Close()

	err := l.RunInLock(context.Background(), keyspace.MustParse("index"), func(ctx context.Context, h *locker.Hold) error {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for pages := 0; pages < 3; {
			select {
			case <-tick.C:
			case <-ctx.Done(): // the lock is lost, or the caller gives up
				return context.Cause(ctx)
			}
			select {
			case <-h.AtRisk(): // begin nothing new; look again at the next tick
				fmt.Println("etcd does not answer; the lock stays held for", h.Remaining())
				continue
			default:
			}
			pages++
		}
		fmt.Println("done")
		return nil
	})
	fmt.Println(err)
	// Output:
	// done
	// <nil>
}

// A readiness probe: what waits for a lock, or has none, is ready.
func ExampleLocker_Health() {
	client := dial()
	defer client.Close()
	l := open(client)

	ready := func(w http.ResponseWriter, _ *http.Request) {
		if h := l.Health(); !h.OK() {
			http.Error(w, fmt.Sprintf("%v (%d of %d holds at risk)", h.Err, h.AtRisk, h.Holds), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", ready)

	probe := func() {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", "/ready", nil))
		fmt.Print(w.Code, " ", w.Body)
	}
	probe()
	l.Close()
	probe()
	// Output:
	// 200 ready
	// 503 locker: closed (0 of 0 holds at risk)
}
