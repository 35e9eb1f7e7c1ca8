// Package simtest is what simulations have in common. A simulation runs lockers of several processes on an etcd in memory, in
// virtual time, with random work and random faults, and checks what a package promises. It is test only: no package that a
// program uses imports it.
//
// A [World] is one run, made from a seed by [Play]. [Seeds] runs as many as the flags of the test binary ask for:
//
//	-seeds=10000    so many of them
//	-first=501      from this one on
//	-seed=42        this one alone; its history is logged
//
// A seed fixes the work and the faults. Where several goroutines act at one moment the scheduler has a say, so that a run may
// differ from the last in its details: repeat it with -count.
package simtest
