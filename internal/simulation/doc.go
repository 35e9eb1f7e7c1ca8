// Package simulation runs lockers of several processes on an etcd in memory, in virtual time, with random work and random
// faults, and checks after every step what package locker promises. It has only tests:
//
//	go test ./internal/simulation                     some hundreds of seeds
//	go test ./internal/simulation -seeds=100000       more of them
//	go test ./internal/simulation -seed=42 -v         one of them, with its history
package simulation
