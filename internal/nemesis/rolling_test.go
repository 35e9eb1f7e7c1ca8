package nemesis_test

import (
	"context"
	"flag"
	"testing"
	"time"

	"github.com/phpgao/elock/internal/etcdtest"
	"github.com/phpgao/elock/internal/etcdtest/member"
)

// rolling is a flag, as servers of older versions take a minute each to build.
var rolling = flag.Bool("rolling", false, "upgrade a cluster from etcd 3.5 to 3.7 while it is used")

func TestLocksKeepTheirPromisesWhileEtcdIsUpgraded(t *testing.T) {
	if !*rolling {
		t.Skip("needs flag -rolling")
	}
	// 3.7 cannot read entries of its log that 3.5 wrote, so each member must make a snapshot as 3.6.
	w := newWorld(t, etcdtest.StartClusterAs(t, member.V35, members, "--snapshot-count=10"), "", "")
	w.began = now()
	w.stay(member.V35)
	for _, version := range []string{member.V36, member.V37} {
		for _, m := range w.cluster.Members() {
			from := now()
			m.RestartAs(t, version)
			w.happened(window{"member upgraded to " + version, from, now()}, true)
			w.recover()
		}
		w.stay(version)
	}
	w.judge()
}

// stay waits until all members have arrived at a version, and then for everybody to use them for a while: that is some
// hundreds of writes.
func (w *world) stay(version string) {
	ctx, cancel := context.WithTimeout(context.Background(), recovery)
	defer cancel()
	for _, m := range w.cluster.Members() {
		for m.ClusterVersion(w.t) != version {
			if ctx.Err() != nil {
				w.t.Fatalf("the cluster does not arrive at %s", version)
			}
			idle(ctx, 100*time.Millisecond)
		}
	}
	calm := window{from: now()}
	before := w.store.writes()
	w.recover()
	idle(context.Background(), 5*time.Second)
	calm.to = now()
	w.calms = append(w.calms, calm)
	if n := w.store.writes() - before; n < 20 {
		w.t.Fatalf("%d writes as %s: 3.7 would not start on their log", n, version)
	}
}
