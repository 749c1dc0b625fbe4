package control

import (
	"sync"
	"time"
)

// turns knows when each controller that runs came round last. A controller turns at least once a resync while it is well; one
// that hangs in its work is found out by its silence.
type turns struct {
	mu sync.Mutex
	at map[string]time.Time // by the controller's name
}

func (t *turns) turned(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at == nil {
		t.at = map[string]time.Time{}
	}
	t.at[name] = time.Now()
}

// ended forgets a controller that does not run any more: a leader's, after its leadership.
func (t *turns) ended(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.at, name)
}

// latest is the controller whose last turn is the longest ago.
func (t *turns) latest() (name string, ago time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n, at := range t.at {
		if since := time.Since(at); name == "" || since > ago {
			name, ago = n, since
		}
	}
	return name, ago
}

// Slowest is the controller that has not come round for the longest time, and how long that is; "" while none runs. All of
// what they do is bounded by a few seconds, so a much longer silence means that it hangs. Any goroutine may ask.
func (m *Manager) Slowest() (controller string, silent time.Duration) { return m.turns.latest() }
