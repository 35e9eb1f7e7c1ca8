// Command etcd35 is the etcd 3.5 server, made to end with the test run that started it. It takes etcd's own flags.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"

	"github.com/phpgao/elock/internal/etcdtest/parent"
)

func main() {
	parent.Follow()
	etcdmain.Main(os.Args)
}
