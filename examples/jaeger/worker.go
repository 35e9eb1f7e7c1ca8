package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/phpgao/elock/keyspace"
	"github.com/phpgao/elock/locker"
	"github.com/phpgao/elock/otelhook"
)

// A worker is one of the processes.
type worker struct {
	name   string
	client *clientv3.Client
	prefix string
	locks  *locker.Locker
	tracer trace.Tracer
	count  counter

	mu     sync.Mutex
	sights []sight // guarded by mu
}

// work does what the process called name does, once it is told to begin.
func work(name string) (err error) {
	ctx := context.Background()
	exporter, err := otlptracegrpc.New(ctx) // to OTEL_EXPORTER_OTLP_ENDPOINT
	if err != nil {
		return err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
	otel.SetTracerProvider(provider)

	client, err := clientv3.New(clientv3.Config{
		Endpoints:   strings.Split(os.Getenv(endpointsEnv), ","),
		DialTimeout: 5 * time.Second,
		Logger:      zap.NewNop(),
	})
	if err != nil {
		return err
	}
	defer client.Close()
	w := &worker{name: name, client: client, prefix: os.Getenv(prefixEnv), tracer: otel.Tracer("example")}
	hook, err := otelhook.New()
	if err != nil {
		return err
	}
	w.locks, err = locker.New(client, locker.WithHook(hook, &w.count), locker.WithPrefix(w.prefix),
		locker.WithOwner(name), locker.WithMonitorTicks(100*time.Millisecond))
	if err != nil {
		return err
	}

	fmt.Println("ready")
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	go func() { // this process ends with the one that started it
		_, _ = io.Copy(io.Discard, in)
		os.Exit(1)
	}()
	err = w.contend(ctx)
	err = errors.Join(err, w.locks.Close(), provider.Shutdown(ctx))
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report{
		Acquires: int(w.count.acquires.Load()), Blocked: int(w.count.blocked.Load()), Sights: w.sights,
	})
}

// visit does something under a lock, in a span, and notes its trace as one of a
// kind.
func (w *worker) visit(ctx context.Context, kind, title string, key keyspace.Key, do locked, opts ...locker.AcquireOption) error {
	ctx, span := w.tracer.Start(ctx, title)
	defer span.End()
	began, waited := time.Now(), time.Duration(0)
	err := w.locks.RunInLock(ctx, key, func(ctx context.Context, h *locker.Hold) error {
		waited = time.Since(began)
		return do(ctx, h)
	}, opts...)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sights = append(w.sights, sight{kind, w.name, title, span.SpanContext().TraceID().String(), waited})
	return err
}

type locked func(context.Context, *locker.Hold) error
