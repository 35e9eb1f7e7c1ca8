// Command toxiproxy is Toxiproxy's server, made to end with the process that started it.
//
// It is called with the loopback port of its API and a name: the API shows a disabled proxy of that name, by which the
// parent knows that it talks to its own server. The parent holds the write end of its standard input.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: toxiproxy PORT NAME")
		os.Exit(2)
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	log := zerolog.New(os.Stderr).Level(zerolog.ErrorLevel)
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), log)
	mark := toxiproxy.NewProxy(server, os.Args[2], "127.0.0.1:0", "127.0.0.1:0")
	if err := server.Collection.Add(mark, false); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	server.Listen("127.0.0.1", os.Args[1])
}
