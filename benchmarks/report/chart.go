package main

import (
	"image/color"
	"strings"
)

// A picture is a chart of one kind or the other.
type picture interface {
	name() naming
	draw(*results) ([]byte, error)
}

// A naming is what a chart is called: its file, its title, and what its upright axis shows.
type naming struct{ file, title, axis string }

func (n naming) name() naming { return n }

// pictures are all charts, as RESULTS.md has them.
func pictures() (all []picture) {
	for _, c := range charts {
		all = append(all, c)
	}
	for _, s := range sweeps {
		all = append(all, s)
	}
	return all
}

// A chart has groups of bars, and one line that says what their colors mean.
type chart struct {
	naming
	unit   string
	log    bool
	groups []group
}

// A group is a benchmark, the implementations that are shown of it, and what stands below them.
type group struct {
	label, name string
	impls       []string
}

var (
	inEtcd  = []string{"elock", "mutex", "session-per-lock", "put+delete"}
	handing = []string{"elock", "mutex", "session-per-lock", "write+notice"}
)

var charts = []chart{
	{
		naming: naming{"distinct.svg", "Locks per second, a key for each goroutine", "locks/s"}, unit: "locks/s",
		groups: []group{
			{"16 goroutines", "Distinct/goroutines=16", inEtcd},
			{"64 goroutines", "Distinct/goroutines=64", inEtcd},
			{"256 goroutines", "Distinct/goroutines=256", inEtcd},
		},
	},
	{
		naming: naming{"hot.svg", "Hand-overs per second, one key", "hand-overs/s (log)"}, unit: "handovers/s", log: true,
		groups: []group{
			{"2 processes", "Hot/clients=2", handing},
			{"4 processes", "Hot/clients=4", handing},
			{"16 processes", "Hot/clients=16", handing},
			{"64 goroutines of one", "HotLocal/goroutines=64", []string{"elock", "mutex-each"}},
		},
	},
	{
		naming: naming{"cluster.svg", "Locks per second, 256 goroutines, a key each", "locks/s"}, unit: "locks/s",
		groups: []group{
			{"one member", "Distinct/goroutines=256", inEtcd},
			{"three members", "Cluster/members=3/work=distinct", inEtcd},
			{"three, 2 ms apart", "ClusterApart/members=3/rtt=2ms/work=distinct", inEtcd},
		},
	},
	{
		naming: naming{"peers.svg", "Locks per second beside Redis, 256 goroutines, a key each", "locks/s"}, unit: "locks/s",
		groups: []group{
			{"etcd", "PeersDistinct/goroutines=256", []string{"elock", "mutex"}},
			{"Redis, appendfsync always", "PeersDistinct/goroutines=256", []string{"redislock+fsync", "redsync+fsync", "rueidislock+fsync"}},
			{"Redis as installed", "PeersDistinct/goroutines=256", []string{"redislock", "redsync", "rueidislock"}},
		},
	},
}

// A look is how an implementation is shown. What is alike in different groups looks alike.
type look struct {
	name  string
	color color.RGBA
}

func lookOf(impl string) look {
	switch strings.TrimSuffix(impl, "+fsync") {
	case "elock-shared":
		return look{"elock, one writes and the others read", color.RGBA{0x83, 0xc5, 0xbe, 0xff}}
	case "elock", "elock-processes":
		return look{"elock", color.RGBA{0x00, 0x6d, 0x77, 0xff}}
	case "mutex", "mutex-each":
		return look{"concurrency.Mutex", color.RGBA{0xe2, 0x95, 0x78, 0xff}}
	case "session-per-lock":
		return look{"a session per lock", color.RGBA{0xb5, 0x65, 0x76, 0xff}}
	case "put+delete", "write+notice":
		return look{"limit: " + strings.Replace(impl, "+", " + ", 1), color.RGBA{0xb0, 0xb0, 0xb0, 0xff}}
	case "redislock":
		return look{"redislock", color.RGBA{0xd6, 0x28, 0x28, 0xff}}
	case "redsync":
		return look{"redsync", color.RGBA{0xf7, 0x9f, 0x1f, 0xff}}
	case "rueidislock":
		return look{"rueidislock", color.RGBA{0x6a, 0x4c, 0x93, 0xff}}
	}
	return look{impl, color.RGBA{0x80, 0x80, 0x80, 0xff}}
}
