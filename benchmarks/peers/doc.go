// Package peers compares elock with locks on Redis: the work of Distinct and Hot in package benchmarks, where the figures are
// explained.
//
//	cd benchmarks/peers && go test -run '^$' -bench .
//
// It needs redis-server in the PATH, such as Debian's package of that name, and starts it: as installed, and as durable as
// etcd (+fsync).
package peers
