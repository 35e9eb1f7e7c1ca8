package otelhook_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
	"github.com/phpgao/elock/otelhook"
)

func TestAnAcquireThatEtcdDoesNotAnswerIsToldFromOneThatWaitsForAnOwner(t *testing.T) {
	for name, tt := range map[string]struct {
		patience time.Duration
		silent   bool
		want     string
	}{
		"another held it":              {time.Second, false, "deadline Error deadline"},
		"etcd was silent":              {time.Second, true, "unavailable Error unavailable"},
		"etcd was silent for too long": {time.Minute, true, "unavailable Error unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &process{spans: tracetest.NewSpanRecorder()}
				hook, err := otelhook.New(otelhook.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(p.spans))))
				if err != nil {
					t.Fatal(err)
				}
				a, b := lockertest.NewPair(t, locker.WithHook(hook))
				if tt.silent {
					lockertest.Disconnect(b)
				} else if _, err := a.TryAcquire(t.Context(), key); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), tt.patience)
				defer cancel()
				if _, err := b.Acquire(ctx, key); err == nil {
					t.Error("acquired")
				}
				got := p.outcomes("elock.acquire")
				if last := got[len(got)-1]; last != tt.want {
					t.Errorf("got %q, want %q", last, tt.want)
				}
				lockertest.Reconnect(b)
			})
		})
	}
}
