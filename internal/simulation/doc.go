// Package simulation runs lockers of several processes on an etcd in memory, in virtual time, with random work and random
// faults, and checks after every step what package locker promises. It has only tests:
//
//	go test ./internal/simulation                     some hundreds of seeds
//	go test ./internal/simulation -seeds=100000       more of them
//	go test ./internal/simulation -seed=42 -v         one of them, with its history
//
// Besides messages, leaders and leases, production has tokens that die, alarms, limits and refusals, and hooks that are slow or
// panic. A run has all of them, or those that -faults names:
//
//	go test ./internal/simulation -faults=tokens,nospace
//
// A seed fixes the work and the faults. Where several goroutines act at one moment the scheduler has a say, so that a run may
// differ from the last in its details: repeat it with -count.
//
// To show that it would notice, it plants mistakes in package locker, one at a time, and expects to find each:
//
//	go test ./internal/simulation -run PlantedMistakes -mutations=2000 -timeout 1h -v
package simulation
