// Package xctx has what a call to a server needs beyond package context: contexts that end with another, later, or after a
// patience; and tries that go on until the caller's context ends. It knows nothing of etcd.
//
// A [Grace] outlives its caller's context for a moment, so that a write that is on its way may be answered, and a clean-up done.
// [Grace.Persist] tries a call until it succeeds: each try has a [Patience], after which it goes again, perhaps to another
// member, and pauses that grow are between them. A [Limiter] makes the contexts that bound tries; first tries share theirs.
//
// # Invariants
//
//   - A Grace costs no timer and no goroutine until somebody asks for its channel or its error.
//   - Nothing here outlasts what bounds it: the caller by its grace, the owner of a Limiter, or a total.
package xctx
