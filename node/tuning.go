package node

import "time"

// Tuning is what of a Supervisor may change while it runs.
type Tuning struct {
	StopTimeout time.Duration // SIGTERM to SIGKILL; 0 = 60 s. A node that flushes its state is busy and says nothing
	Budget      Budget        // of the node, and of each sidecar for itself
}

func (t Tuning) withDefaults() Tuning {
	setDefault(&t.StopTimeout, time.Minute)
	t.Budget = t.Budget.withDefaults()
	return t
}

// Tune replaces the tuning as a whole; zero fields have their defaults. What is being waited for already goes on as it began:
// a stop, or the pause before a restart.
func (s *Supervisor) Tune(t Tuning) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tuning = t.withDefaults()
}

func (s *Supervisor) tuned() Tuning {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tuning
}
