package watchstream

import (
	"runtime"
	"sync"
	"weak"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// clients has the Streams of each client, as long as the client is in use.
var clients struct {
	sync.Mutex
	streams map[weak.Pointer[clientv3.Client]]*Streams
}

// Of returns the Streams of client: the same for each call.
func Of(client *clientv3.Client) *Streams {
	id := weak.Make(client)
	clients.Lock()
	defer clients.Unlock()
	if s := clients.streams[id]; s != nil {
		return s
	}
	if clients.streams == nil {
		clients.streams = make(map[weak.Pointer[clientv3.Client]]*Streams)
	}
	s := new(Streams)
	clients.streams[id] = s
	runtime.AddCleanup(client, forget, id)
	return s
}

func forget(id weak.Pointer[clientv3.Client]) {
	clients.Lock()
	defer clients.Unlock()
	delete(clients.streams, id)
}
