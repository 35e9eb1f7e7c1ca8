package child

import (
	"log/slog"
	"os"
	"os/signal"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/phpgao/elock/locker"
)

// Locker returns the Locker of a child process, which tells its parent what happens, and logs nothing, and what closes it. The process
// ignores Ctrl-C, which comes to it, too: the parent sees to it.
func Locker(endpoint, owner string, ttl time.Duration) (l *locker.Locker, end func(), err error) {
	signal.Ignore(os.Interrupt)
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		return nil, nil, err
	}
	l, err = locker.New(client, locker.WithOwner(owner), locker.WithTTL(ttl), locker.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		client.Close()
		return nil, nil, err
	}
	return l, func() { l.Close(); client.Close() }, nil
}
