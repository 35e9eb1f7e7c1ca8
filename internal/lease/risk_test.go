package lease

import (
	"slices"
	"testing"
	"time"
)

// A change is a call of OnRisk.
type change struct {
	at     time.Duration // since the lease was granted
	atRisk bool
}

// risk notes a call of OnRisk.
func (m *member) risk(s *Lease) {
	c := change{time.Since(s.began()).Round(time.Millisecond), s.AtRisk()}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.risks = append(m.risks, c)
}

// began is when s was granted, in virtual time: the clocks of a bubble begin with it.
func (s *Lease) began() time.Time { return time.Now().Add(s.asked.Mono - s.set.cfg.Now().Mono) }

func (m *member) wantRisks(t *testing.T, want ...change) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Equal(m.risks, want) {
		t.Errorf("OnRisk: %v, want %v", m.risks, want)
	}
}

// fates are those of renewals, in order; the last one goes on.
func fates(all ...answer) func(int) (time.Duration, answer) {
	return func(n int) (time.Duration, answer) { return 0, all[min(n, len(all)-1)] }
}

func TestALeaseIsAtRiskForAQuarterOfItsTTLBeforeItsDeadline(t *testing.T) {
	m := &member{renew: fates(silent)}
	withLease(t, m, func(t *testing.T, s *Lease) {
		time.Sleep(6490 * time.Millisecond)
		if since, _ := s.set.Trouble(); s.AtRisk() || time.Since(since).Round(time.Second) != 3*time.Second {
			t.Errorf("at risk after 6.5 s: %v; trouble for %v", s.AtRisk(), time.Since(since))
		}
		<-s.Context().Done()
		if took := time.Since(s.began()); took != 9*time.Second {
			t.Errorf("it ends after %v", took)
		}
		m.wantRisks(t, change{6500 * time.Millisecond, true})
		if since, err := s.set.Trouble(); !since.IsZero() {
			t.Errorf("a lease that is lost is in trouble: %v, %v", since, err)
		}
	})
}

func TestALeaseThatIsRenewedAgainIsNotAtRiskAnyMore(t *testing.T) {
	// Sent after 3.3, 4.3 and 6.3 s; then half a second after each broken stream.
	m := &member{renew: fates(silent, silent, breaks, breaks, renewed)}
	withLease(t, m, func(t *testing.T, s *Lease) {
		time.Sleep(6600 * time.Millisecond)
		if _, err := s.set.Trouble(); !s.AtRisk() || err == nil {
			t.Errorf("at risk: %v; trouble: %v", s.AtRisk(), err)
		}
		time.Sleep(time.Hour)
		if since, err := s.set.Trouble(); s.AtRisk() || !since.IsZero() || err != nil {
			t.Errorf("at risk: %v; trouble since %v: %v", s.AtRisk(), since, err)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if len(m.risks) != 2 || m.risks[0] != (change{6500 * time.Millisecond, true}) || m.risks[1].atRisk {
			t.Errorf("OnRisk: %v", m.risks)
		}
	})
}

// Also where each renewal is a call of its own, whose patience is a quarter of the TTL.
func TestOneLostRenewalPutsNoLeaseAtRisk(t *testing.T) {
	for name, fate := range map[string]answer{"swallowed": silent, "broken stream": breaks} {
		t.Run(name, func(t *testing.T) {
			m := &member{renew: fates(fate, renewed)}
			withLease(t, m, func(t *testing.T, s *Lease) {
				time.Sleep(time.Minute)
				m.wantRisks(t)
				if s.renewAt(s.asked).Add(s.ttl/4).Until(s.asked) >= s.ttl-s.ttl/margin-s.ttl/riskPart {
					t.Error("a renewal may wait for its answer until the lease is at risk")
				}
			})
		})
	}
}

// Otherwise nobody would hear of its trouble any more.
func TestALeaseInTroubleIsNotRetiredButLost(t *testing.T) {
	withLease(t, &member{renew: fates(silent)}, func(t *testing.T, s *Lease) {
		s.Part()
		time.Sleep(8 * time.Second)
		if since, err := s.set.Trouble(); err == nil || since.IsZero() {
			t.Errorf("its trouble is gone: %v", s.Lost())
		}
		time.Sleep(2 * time.Second)
		if _, err := s.Unheard(); s.Lost() != Overdue || err == nil {
			t.Errorf("lost: %v; unheard: %v", s.Lost(), err)
		}
	})
}

func TestALeaseThatIsRenewedIsNeverAtRisk(t *testing.T) {
	m := &member{renew: func(int) (time.Duration, answer) { return 900 * time.Millisecond, renewed }}
	withLease(t, m, func(t *testing.T, s *Lease) {
		time.Sleep(time.Hour)
		m.wantRisks(t)
		if since, err := s.set.Trouble(); !since.IsZero() || err != nil {
			t.Errorf("trouble since %v: %v", since, err)
		}
	})
}
