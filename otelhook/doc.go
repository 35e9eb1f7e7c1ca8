// Package otelhook shows locks in OpenTelemetry: a [Hook] makes spans and
// metrics of what a Locker does.
//
//	hook, err := otelhook.New()
//	if err != nil {
//		return err
//	}
//	l, err := locker.New(client, locker.WithHook(hook))
//
// It uses the API only; spans and metrics go wherever the program's SDK sends
// them. docs/tracing.md in the repository lists every span, event, attribute
// and metric.
//
// # Spans
//
// elock.acquire lasts from the call to the grant or the failure; the calls to
// etcd nest under it if the client is instrumented. elock.hold lasts from the
// grant to the end of the hold, whatever ends it; what a function does under
// the lock nests under it. Both are children of the caller's span, one after
// the other. A caller without a span gets a trace of its own, in which the
// acquire is the root and the hold its child. elock.timeout, a child of the
// hold, is the monitor's forced release.
//
// # Who blocks whom
//
// The acquire span's context goes into the record that the lock's key has in
// etcd. A caller that has to wait reads it there, and links its own acquire
// span to the acquire span of the owner ahead, in whichever process that is.
// One trace of that owner shows its acquire and its hold.
//
// # Cost
//
// A span that is not recorded gets no attributes, no events and no links, and
// adds nothing to the record in etcd.
package otelhook
