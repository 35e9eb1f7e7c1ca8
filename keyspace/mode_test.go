package keyspace_test

// The flags of every test binary: go test ./... -etcd=3.5 would fail here without them.
import _ "github.com/phpgao/elock/internal/etcdtest/mode"
