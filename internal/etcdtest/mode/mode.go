// Package mode says how etcd runs in tests. Each choice is a flag of every test binary that imports this package, and an
// environment variable, which also reaches binaries without the flag:
//
//	-etcd=3.5       ELOCK_ETCD=3.5        the version: 3.4, 3.5, 3.6 or 3.7
//	-auth           ELOCK_AUTH=1          auth is on, and tests run as a user who may use only their own prefixes
//	-etcd-proxy     ELOCK_ETCD_PROXY=1    the shared server is reached through etcd's gRPC proxy
package mode

import (
	"flag"
	"os"
	"strconv"
)

var (
	version   = flag.String("etcd", os.Getenv("ELOCK_ETCD"), "version of etcd: 3.4, 3.5, 3.6 or 3.7; the default is the newest")
	auth      = flag.Bool("auth", isSet("ELOCK_AUTH"), "run etcd with auth, and tests as a user with few permissions")
	grpcProxy = flag.Bool("etcd-proxy", isSet("ELOCK_ETCD_PROXY"), "reach the shared etcd through etcd's gRPC proxy")
)

// Version is the version of etcd to run, such as "3.5"; empty for the newest.
func Version() string { return *version }

// Auth reports whether etcd runs with auth.
func Auth() bool { return *auth }

// GRPCProxy reports whether the shared etcd is reached through a gRPC proxy.
func GRPCProxy() bool { return *grpcProxy }

func isSet(name string) bool {
	on, _ := strconv.ParseBool(os.Getenv(name))
	return on
}
