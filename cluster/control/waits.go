package control

import "sync"

// waits are why something does not go on, as this member last saw it while it led. All methods may be called from any goroutine.
type waits[K comparable] struct {
	mu   sync.Mutex
	text map[K]string
}

func (w *waits[K]) set(text map[K]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = text
}

func (w *waits[K]) of(key K) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text[key]
}

// OperationReason says why a rolling operation, or one on a backup, does not go on, as this member decided while it led; "" where it goes on,
// or this member does not know.
func (m *Manager) OperationReason(id uint64) string { return reason(m, &m.waiting, id) }

// PlanReason says why a plan that is due does not fire, or when it is tried again, as this member decided while it led; "" where it does
// not know.
func (m *Manager) PlanReason(id string) string { return reason(m, &m.plans, id) }

func reason[K comparable](m *Manager, of *waits[K], key K) string {
	if !m.cluster.IsLeader() {
		return ""
	}
	return of.of(key)
}
