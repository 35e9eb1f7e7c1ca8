package otelhook_test

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/otelhook"
)

// wait bounds what a test waits for; a test that passes never waits so long.
const wait = 30 * time.Second

var key = keyspace.MustParse("space/key")

// A process is a Locker with an OpenTelemetry of its own.
type process struct {
	*locker.Locker
	name    string
	prefix  string
	client  *clientv3.Client
	tracers *sdktrace.TracerProvider
	meters  *sdkmetric.MeterProvider
	spans   *tracetest.SpanRecorder
	reader  *sdkmetric.ManualReader
}

// A world is the processes that share locks.
type world struct {
	tb     testing.TB
	server *etcdtest.Server
	prefix string
	all    []*process
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	s := etcdtest.Start(tb)
	return &world{tb: tb, server: s, prefix: s.Prefix(tb)}
}

func (w *world) process(name string, opts ...locker.Option) *process {
	w.tb.Helper()
	return w.processOn(w.server.Client(w.tb), name, opts...)
}

func (w *world) processOn(client *clientv3.Client, name string, opts ...locker.Option) *process {
	w.tb.Helper()
	p := &process{
		name:   name,
		prefix: w.prefix,
		client: client,
		spans:  tracetest.NewSpanRecorder(),
		reader: sdkmetric.NewManualReader(),
	}
	p.tracers = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(p.spans))
	p.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(p.reader))
	hook, err := otelhook.New(otelhook.WithTracerProvider(p.tracers), otelhook.WithMeterProvider(p.meters))
	if err != nil {
		w.tb.Fatal(err)
	}
	opts = append([]locker.Option{locker.WithOwner(name), locker.WithHook(hook)}, opts...)
	p.Locker = newLocker(w.tb, client, append(opts, locker.WithPrefix(w.prefix))...)
	w.all = append(w.all, p)
	return p
}

// newLocker returns a Locker that is quiet and closed when the test ends.
func newLocker(tb testing.TB, client *clientv3.Client, opts ...locker.Option) *locker.Locker {
	tb.Helper()
	quiet := locker.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))
	l, err := locker.New(client, append(opts, quiet)...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := l.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return l
}

// request starts a span of the user's.
func (p *process) request(name string) (context.Context, trace.Span) {
	return p.tracers.Tracer("test").Start(context.Background(), name)
}

func (p *process) acquire(tb testing.TB, ctx context.Context, k keyspace.Key, opts ...locker.AcquireOption) *locker.Hold {
	tb.Helper()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	h, err := p.Acquire(ctx, k, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func release(tb testing.TB, h *locker.Hold) {
	tb.Helper()
	if err := h.Release(context.Background()); err != nil {
		tb.Fatal(err)
	}
}

// untilEvent waits until a span of p has had the event n times.
func (p *process) untilEvent(tb testing.TB, name string, n int) {
	tb.Helper()
	until(tb, p.name+" has had the event "+name, func() bool {
		count := 0
		for _, s := range p.spans.Started() {
			for _, e := range s.Events() {
				if e.Name == name {
					count++
				}
			}
		}
		return count == n
	})
}

// untilEnded waits until n spans of p have ended.
func (p *process) untilEnded(tb testing.TB, n int) {
	tb.Helper()
	until(tb, "the spans of "+p.name+" have ended", func() bool { return len(p.spans.Ended()) >= n })
}

// want compares text, indented as it suits the test, with got.
func want(tb testing.TB, text, got string) {
	tb.Helper()
	lines := strings.Split(strings.Trim(text, "\n\t"), "\n")
	indent := len(text) - len(strings.TrimLeft(text, "\n\t")) - 1
	for i, l := range lines[1:] {
		lines[i+1] = strings.TrimPrefix(l, strings.Repeat("\t", indent))
	}
	if diff := cmp.Diff(lines, strings.Split(strings.TrimSpace(got), "\n")); diff != "" {
		tb.Errorf("-want +got\n%s\ngot:\n%s", diff, got)
	}
}

// async runs f and returns a function that waits for its end and returns its
// result.
func async[T any](tb testing.TB, f func() T) func() T {
	done := make(chan T, 1)
	go func() { done <- f() }()
	return func() T {
		tb.Helper()
		return receive(tb, done)
	}
}

func receive[T any](tb testing.TB, c <-chan T) T {
	tb.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(wait):
		tb.Fatal("waited too long")
		panic("unreachable")
	}
}

// until waits for cond to become true.
func until(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	deadline := time.Now().Add(wait)
	for !cond() {
		if time.Now().After(deadline) {
			tb.Fatalf("waited too long until %s", what)
		}
		time.Sleep(time.Millisecond) // the period of a poll
	}
}

// ours reports whether a span or metric is the hook's.
func ours(s instrumentation.Scope) bool {
	return s.Name == otelhook.ScopeName && s.Version != ""
}
