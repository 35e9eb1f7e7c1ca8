// Package election has one of several processes lead, and tells all of them who.
//
// An [Election] is a name, and a lock of that name in etcd. Its holder leads for a
// [Term]; those that wait are candidates, and follow in the order of arrival:
//
//	func serve(ctx context.Context, l *locker.Locker, addr string) error {
//		e, err := election.New(l, keyspace.MustParse("scheduler"), guard.Bytes[string]())
//		if err != nil {
//			return err
//		}
//		return e.Run(ctx, addr, func(ctx context.Context, t *election.Term[string]) error {
//			return schedule(ctx, t.Token()) // until ctx is done
//		})
//	}
//
// Others find the leader with [Election.Leader], or follow all of them with
// [Election.Observe].
//
// # What a term promises
//
// A term begins when etcd has granted it, and no two overlap: the context of a term
// ends, and [Election.IsLeader] says false, before anybody else can lead. That holds
// when etcd cannot be reached, when the process stands still and when its lease is gone:
// it is the promise of a locker.Hold, with its exceptions. When somebody deletes
// the term's key by hand, or calls locker.Locker.Evict, the leader learns of it within
// 2 seconds, and another may lead meanwhile. What a leader writes elsewhere has to
// carry its [Term.Token], or [Term.Fence]; see the documentation of locker.Token.
//
// When a leader dies, the next one leads when its lease has ended, locker.TTL
// after its last renewal.
//
// # Announcements
//
// A candidate brings a value, and announces it by becoming the leader.
// [Term.Proclaim] announces another. The value is in the leader's own key in etcd. So it
// ends with the term, and an announcement of a lost term that arrives late
// is refused: it is never seen after one of the next leader.
//
// # A planned hand-over
//
// For a rolling deploy, [Term.ResignTo] hands over to a named candidate: the candidates
// ahead of it step back to the end of the queue, and then the leader resigns. There is no
// vacancy in between. The name is that of locker.WithOwner, and Queue.Waiters of
// locker.Locker.Inspect has those of all candidates. If that candidate dies at that moment,
// the others follow when its lease has ended.
//
// Somebody else may ask for it by locker.Locker.RequestRelease. The leader sees that in the
// hold of its term:
//
//	h, _ := locker.HoldFrom(t.Context())
//	<-h.Requested()
//
// # In etcd
//
// The key of the lock is for the election alone: whoever acquires the lock leads, and
// announces nothing unless it does so by locker.Announcing. A key of one segment is also an election
// of clientv3/concurrency and etcdctl: with the default prefix, "scheduler" is their
// "/elock/scheduler". They and this package exclude each other, and queue in one
// order. Here, their leader is a [Leader] that is Foreign, with their value. There, the
// value of a leader of this package is the record of its lock:
//
//	{"elock":1,"owner":"host:4711","mode":"exclusive",...,"announcement":"10.0.0.7:80"}
//
// They see a new one after each Proclaim. A concurrency.Election may believe that it
// leads when its own key is gone, which nothing here can prevent; ResignTo
// never deletes its key, and so cannot hand over to a candidate behind it.
//
// # Tests
//
// With locker/lockertest, all of this works without etcd, and in virtual time.
package election
