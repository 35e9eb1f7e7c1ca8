package otelhook_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/locktest"
	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/otelhook"
)

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
	p.Locker = locktest.New(w.tb, client, append(opts, locker.WithPrefix(w.prefix))...)
	w.all = append(w.all, p)
	return p
}

// request starts a span of the user's.
func (p *process) request(name string) (context.Context, trace.Span) {
	return p.tracers.Tracer("test").Start(context.Background(), name)
}

func (p *process) acquire(tb testing.TB, ctx context.Context, k keyspace.Key, opts ...locker.AcquireOption) *locker.Hold {
	tb.Helper()
	return locktest.AcquireUnder(tb, ctx, p.Locker, k, opts...)
}

// untilEvent waits until a span of p has had the event n times.
func (p *process) untilEvent(tb testing.TB, name string, n int) {
	tb.Helper()
	locktest.Until(tb, p.name+" has had the event "+name, func() bool {
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
	locktest.Until(tb, "the spans of "+p.name+" have ended", func() bool { return len(p.spans.Ended()) >= n })
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

// ours reports whether a span or metric is the hook's.
func ours(s instrumentation.Scope) bool {
	return s.Name == otelhook.ScopeName && s.Version != ""
}
