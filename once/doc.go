// Package once runs a job once for each tick, on however many nodes it is
// scheduled.
//
// A lock alone does not do that. Node A runs the job and releases the lock; then
// node B, whose clock is a little slow, finds the lock free and runs the job again.
// So [Do] keeps a marker beside the lock that says which tick was run last:
//
//	func hourly(ctx context.Context, l *locker.Locker) error {
//		tick := once.At(time.Now(), time.Hour) // the full hour that is nearest
//		_, err := once.Do(ctx, l, keyspace.MustParse("reports/hourly"), tick,
//			func(ctx context.Context, h *locker.Hold) error {
//				return report(ctx, tick, h.Token())
//			})
//		return err
//	}
//
// Every node calls that each hour. One of them runs the report, and the others
// return when it is done. If that one dies, its lock is free when the TTL has passed,
// 15 seconds by default, and the next one runs the report. Until then the others wait in
// Do, and ticks that come meanwhile may be left out. For a short period, set a shorter TTL:
// Acquiring(locker.TTL(2*time.Second)).
//
// [At] makes a tick of a time. Any strings that sort in the order of time are ticks
// too: a date, or a number of fixed width ("9" is greater than "10"). A tick is
// refused with [ErrOldTick] once a later one was run.
//
// # At most once, at least once
//
// At most one run of a tick ends with its mark, over all processes, restarts and
// clocks: etcd takes the mark only while the lock is held, and in the transaction
// that releases it. What a run does elsewhere is another matter.
//
//   - With [Retake], the default, effects are at least once. A run may die after
//     its effect and before its mark; it may lose the lock, and go on until it looks
//     at its context; etcd may be silent when the mark is due. Then the tick is
//     run again.
//   - With [Skip], effects are at most once. The tick is marked first. A run that dies
//     before its effect leaves the tick without it.
//
// What makes effects safe is the token of the hold. A store that remembers the
// highest token it has seen, and refuses lower ones, is not written by a run that has
// lost its lock; one that remembers the tick with it, in the same write, has each
// tick once. In etcd, guard.Guard.Update is such a write: keep the tick in the value,
// under another key, as the job holds its own.
//
// When Do returns locker.ErrOutcomeUnknown, etcd did not tell whether the tick was
// marked. Calling Do again finds out: it returns nil, or runs the tick.
//
// # Who waits
//
// While one caller runs a tick, others of the same tick wait for it, as they may have
// to run it themselves; those that come after it return after one read, without
// the lock. Waiting callers get the lock one after the other, in the order of
// arrival, only to see that the tick is done. [NoWait] makes Do return at
// once, with locker.ErrLocked: when that caller dies, nobody runs the tick
// unless somebody calls again. When a function fails, its tick is not marked, so each
// waiting caller runs it once more. If that is not wanted, note the failure and
// return nil.
//
// A job that takes longer than its period delays the next tick, which waits for the
// lock. A tick that nobody has run when a later one is run is lost.
//
// # The marker
//
// There is one for each key, and it stays. With the default prefix, that of
// "reports/hourly" is /elock/reports:/hourly%once, which is nobody's lock or value: a
// job may share its key with a guarded value. It is JSON for people too:
//
//	{"v":1,"tick":"2026-11-27T12:00:00.000Z","token":1179648,"owner":"host:4711","done":"2026-11-27T12:00:07.31Z"}
//
// The owner's name is that of locker.WithOwner, and its time is by its own clock. With
// Skip it is "started" instead of "done". What is not a marker is [ErrMarker], and is
// not written over. [Forget] deletes the marker of a job that is gone.
package once
