package drill

import (
	"errors"
	"fmt"
	"os"
)

// Hold lets a member's manager wait where it comes to a step of an operation (manager.EnvHold), until Release.
func (s *Sandbox) Hold(m *Member, step string) error {
	if s.opts.Secure {
		return errSandboxOnly
	}
	if err := s.Release(m); err != nil {
		return err
	}
	if err := os.WriteFile(m.holdFile(), []byte(step), 0o600); err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	return nil
}

// Release lets it go on.
func (s *Sandbox) Release(m *Member) error {
	for _, file := range []string{m.holdFile(), m.heldFile()} {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("drill: %w", err)
		}
	}
	return nil
}

// Held reports whether a member's manager waits at a step.
func (m *Member) Held(step string) bool {
	held, err := os.ReadFile(m.heldFile())
	return err == nil && string(held) == step
}

func (m *Member) heldFile() string { return m.holdFile() + ".held" }
