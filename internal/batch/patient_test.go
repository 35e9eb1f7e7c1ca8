package batch

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func patient(i int) Txn {
	t := write(i)
	t.Patient = true
	return t
}

// later commits t on a goroutine, and returns a function that waits for it, and returns how long it took.
func (s *server) later(t *testing.T, txn Txn) (took func() time.Duration) {
	t.Helper()
	var wait sync.WaitGroup
	began, d := time.Now(), time.Duration(0)
	wait.Go(func() {
		wantSucceeded(t, []outcome{one(s.Commit(t.Context(), txn))})
		d = time.Since(began)
	})
	synctest.Wait()
	return func() time.Duration { wait.Wait(); return d }
}

func TestWhatIsPatientGoesSoonThoughNothingElseDoes(t *testing.T) {
	for _, spawns := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, false)
			if !spawns {
				s.cfg.Spawn = func(func()) bool { return false }
			}
			for range 3 {
				first := s.later(t, patient(3))
				time.Sleep(patience / 2)
				second := s.later(t, patient(4))
				if a, b := first(), second(); a != patience+s.latency || b != patience/2+s.latency {
					t.Errorf("after %v and %v", a, b)
				}
			}
			if n := len(s.sent()); n != 3 {
				t.Errorf("%d were sent", n)
			}
		})
	}
}

func TestWhatIsPatientGoesWithTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		first, second := s.later(t, patient(3)), s.later(t, patient(4))
		next := s.later(t, write(5))
		if a, b, c := first(), second(), next(); a != s.latency || b != s.latency || c != s.latency {
			t.Errorf("after %v, %v and %v", a, b, c)
		}
		if log := s.sent(); len(log) != 1 || len(log[0].values) != 3 {
			t.Errorf("sent %+v", log)
		}
	})
}

// One that is on its way may be followed by another with which it goes, at once or when its caller goes on.
func TestWhatIsPatientWaitsForTheOneOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		before := s.later(t, write(3))
		late := s.later(t, patient(4))
		before()
		time.Sleep(patience / 2)
		after := s.later(t, write(5))
		if took := late(); took != 2*s.latency+patience/2 || after() != s.latency {
			t.Errorf("after %v", took)
		}
		before = s.later(t, write(3))
		late = s.later(t, patient(4))
		if took := late(); took != 2*s.latency+patience || before() != s.latency {
			t.Errorf("alone after %v", took)
		}
		if n := len(s.sent()); n != 4 {
			t.Errorf("%d were sent", n)
		}
	})
}

func TestWhatIsPatientHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		first, second := s.later(t, write(3)), s.later(t, write(4))
		late := s.later(t, patient(5))
		next := s.later(t, write(6)) // two are on their way
		if a, b, c, d := first(), second(), late(), next(); a != s.latency || b != s.latency || c != 2*s.latency || d != 2*s.latency {
			t.Errorf("after %v, %v, %v and %v", a, b, c, d)
		}
	})
}

func TestWhatIsPatientWaitsForNoBatchThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		s.fault = func(ctx context.Context, n int, _ sent) error {
			if n == 0 {
				<-ctx.Done()
			}
			return ctx.Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		var stuck sync.WaitGroup
		stuck.Go(func() { _, _ = s.Commit(ctx, write(1000)) })
		synctest.Wait()
		if took := s.later(t, patient(3))(); took > maxWait+patience+2*s.latency {
			t.Errorf("after %v", took)
		}
		cancel()
		stuck.Wait()
	})
}

func TestWhatIsPatientGoesAtOnceWhereEachGoesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, true)
		if took := s.later(t, patient(3))(); took != s.latency {
			t.Errorf("after %v", took)
		}
	})
}

func TestWhatIsPatientMayBeGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, false)
		ctx, cancel := context.WithTimeout(t.Context(), patience/2)
		defer cancel()
		if _, err := s.Commit(ctx, patient(3)); err == nil || !NotApplied(err) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Second)
		if n := len(s.sent()); n != 0 {
			t.Errorf("%d were sent", n)
		}
		if took := s.later(t, patient(3))(); took != patience+s.latency {
			t.Errorf("after %v", took)
		}
	})
}
