package otelhook_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/locker/lockertest"
	"github.com/phpgao/elock/otelhook"
)

func TestAHoldAtRiskIsCountedAndItsSpanSaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &process{name: "p", spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader()}
		p.tracers = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(p.spans))
		p.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(p.reader))
		hook := newHook(t, otelhook.WithTracerProvider(p.tracers), otelhook.WithMeterProvider(p.meters))
		p.Locker = lockertest.New(t, locker.WithHook(hook))
		wantRisks := func(n string) {
			t.Helper()
			synctest.Wait()
			if got := p.numbers(t); !strings.Contains(got, "elock.at_risk{elock.space=space} {hold} up and down "+n+"\n") {
				t.Errorf("want %s at risk, got\n%s", n, got)
			}
		}
		h, other := p.acquire(t, t.Context(), key), p.acquire(t, t.Context(), other)
		lockertest.Disconnect(p.Locker)
		<-h.AtRisk()
		wantRisks("2")
		lockertest.Reconnect(p.Locker)
		time.Sleep(time.Second) // virtual: a renewal is answered
		wantRisks("0")
		lockertest.Disconnect(p.Locker)
		<-other.AtRisk()
		wantRisks("2")
		lockertest.Reconnect(p.Locker)
		locktest.Release(t, other)
		time.Sleep(time.Second) // a renewal is answered
		lockertest.Disconnect(p.Locker)
		<-h.Context().Done()
		wantRisks("0")
		var events []string
		for _, s := range p.spans.Ended() {
			if s.Name() != "elock.hold" {
				continue
			}
			for _, e := range s.Events() {
				events = append(events, e.Name)
				if left := e.Attributes[0]; string(left.Key) != "elock.left" || left.Value.AsFloat64() <= 0 {
					t.Errorf("%s: %v", e.Name, e.Attributes)
				}
			}
		}
		yes, no := "elock.at_risk", "elock.renewed"
		if want := []string{yes, no, yes /* of the other */, yes, no, yes, no, yes}; !slices.Equal(events, want) {
			t.Errorf("events %q, want %q", events, want)
		}
	})
}
