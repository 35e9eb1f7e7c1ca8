// Package benchmarks compares elock with what else takes locks in etcd, and with the limits.
package benchmarks
