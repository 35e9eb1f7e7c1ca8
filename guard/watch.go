package guard

import (
	"context"
	"iter"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/phpgao/elock/internal/watchstream"
)

// Watch yields the value, and then every commit and every deletion of it, in
// order. Version.Stored tells a stored value from one that was never stored or was
// deleted. What does not decode is yielded with an error that matches ErrDecode, as
// a zero T with its revision, and the watch goes on.
//
// It goes on too when a connection breaks, a leader is lost, an auth token
// expires or etcd is away, and misses nothing by that. If a member of etcd or a
// connection is silent, the watch moves to another connection within some 5
// seconds: the stream is asked for a sign of life each second in which it says
// nothing. It takes 15 seconds behind a proxy that does not answer that, as etcd's
// gRPC proxy does not, and where the silence begins with the watch.
//
// Versions are left out, and the next is the current one, if etcd has compacted
// what was committed meanwhile, or if for 30 seconds no watch tells a change that
// reads show. A value that was stored and deleted again among those left out is not
// yielded a second time as deleted. All watches of a client share one gRPC stream, apart from the watches
// that the program makes itself; when etcd refuses a watch because of the
// stream's token, they move to a fresh stream.
//
// Watch ends when the loop does, or ctx. If the Locker is closed it ends with
// locker.ErrClosed, if its client is with an error that says so, and if etcd
// refuses it with etcd's error, once: for example, when the client's user has no
// permission, or its password is wrong. If that happens to a watch that runs,
// the error comes within some 10 seconds. A guard without a Stored value yields
// ErrNoResource, once.
func (g *Guard[T]) Watch(ctx context.Context) iter.Seq2[Version[T], error] {
	return func(yield func(Version[T], error) bool) {
		s, err := g.stored(ctx)
		if err == nil {
			f := follower{
				get:     s.current,
				watcher: g.locker.Client().Watcher,
				streams: watchstream.Of(g.locker.Client()),
				name:    s.name(),
				told:    -1,
				tell: func(kv *mvccpb.KeyValue) bool {
					v, err := s.version(kv)
					return yield(v, g.named("watch", err))
				},
			}
			err = f.follow(ctx, g.locker.Context(), g.locker.Client().Ctx())
		}
		if err != nil && ctx.Err() == nil {
			yield(Version[T]{}, g.named("watch", err))
		}
	}
}
