package feed

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestSinceMissesNothingWhereverItBegins(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		first := b.put("d/a")
		b.put("e/a")
		var got []string
		take := func(events []*clientv3.Event) bool {
			for _, ev := range events {
				got = append(got, string(ev.Kv.Key))
			}
			return len(got) < 4
		}
		done := make(chan error)
		since := func(from int64) {
			go func() { done <- b.Since(t.Context(), "d/", from, take, clientv3.WithPrefix()) }()
			synctest.Wait()
		}
		since(first)
		second := b.delete("d/b")
		synctest.Wait()
		b.breakAll()
		if err := <-done; err == nil {
			t.Error("a watch that broke is no error")
		}
		b.put("d/c")
		since(second + 1)
		b.put("d/d")
		if err := <-done; err != nil || fmt.Sprint(got) != "[d/a d/b d/c d/d]" {
			t.Errorf("%v, %v", got, err)
		}
		synctest.Wait()
		if running, _, _ := b.counts(); running > 0 {
			t.Error("its watch goes on")
		}
	})
}

func TestSinceEndsAfterAWhileAndIsProbedMeanwhile(t *testing.T) {
	inBed(t, func(t *testing.T, b *bed) {
		began := time.Now()
		err := b.Since(t.Context(), "d/", 1, func([]*clientv3.Event) bool { return true }, clientv3.WithPrefix())
		if d := time.Since(began); err != nil || d != maxRound {
			t.Errorf("%v after %v", err, d)
		}
		if b.probes() < 5 {
			t.Errorf("%d probes", b.probes())
		}
	})
}
