package watchstream

import "context"

// Heard notes that the stream of used has said something; progress, that it was an
// answer to a request for progress.
func (s *Streams) Heard(used context.Context, progress bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names(used) {
		s.pulse.Heard(progress)
	}
}

// Probe is to be called each Tick by every watch in place, with the watch's context,
// when all that has come was passed to Heard. It asks a stream that is silent for
// progress, once for all watches, and replaces the stream if it owes the answer for
// too long. A stream is not replaced as long as etcd has never answered. Probe
// reports whether the watch may stay on its stream: if not, it has to begin anew.
// ask is the RequestProgress of a clientv3.Watcher.
func (s *Streams) Probe(used context.Context, ask func(context.Context) error) bool {
	asks, stays := s.look(used)
	if asks {
		ctx, cancel := context.WithTimeout(used, Tick)
		defer cancel()
		_ = ask(ctx) // a stream that cannot even be asked gives no answer
	}
	return stays
}

func (s *Streams) look(used context.Context) (asks, stays bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.names(used) {
		return false, false
	}
	asks, dead := s.pulse.Look()
	if dead {
		s.replace()
	}
	return asks, !dead
}
