package keywatch

import (
	"context"
	"reflect"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A streamer is a clientv3.Watcher that opens streams of watches. One that wraps etcd's own may be one.
type streamer interface {
	WatchStream(context.Context) (pb.Watch_WatchClient, error)
}

// Opener returns what opens a stream of watches, or nil. Past the client's Watcher it goes only if that is etcd's own.
func Opener(client *clientv3.Client) func(context.Context) (pb.Watch_WatchClient, error) {
	if s, ok := client.Watcher.(streamer); ok {
		return s.WatchStream
	}
	conn := client.ActiveConnection()
	own := clientv3.NewWatchFromWatchClient(nil, nil)
	if conn == nil || reflect.TypeOf(client.Watcher) != reflect.TypeOf(own) {
		return nil
	}
	remote := pb.NewWatchClient(conn)
	return func(ctx context.Context) (pb.Watch_WatchClient, error) { return remote.Watch(ctx) }
}
