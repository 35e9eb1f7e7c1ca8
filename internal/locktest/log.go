package locktest

import (
	"bytes"
	"log/slog"
	"sync"

	"github.com/phpgao/elock/locker"
)

// A Log is what a Locker logs.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write adds to the log.
func (w *Log) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

// String returns all that was logged so far.
func (w *Log) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// Option is that of a Locker which logs here.
func (w *Log) Option() locker.Option {
	return locker.WithLogger(slog.New(slog.NewTextHandler(w, nil)))
}

// A Listener is output in which somebody waits for a word.
type Listener struct {
	bytes.Buffer
	Word  string
	Heard func() // called with each write that has it
}

// Write adds to the output.
func (l *Listener) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(l.Word)) {
		l.Heard()
	}
	return l.Buffer.Write(p)
}
