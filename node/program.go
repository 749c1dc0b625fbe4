package node

import (
	"context"
	"fmt"
)

// Program is what one start runs: nodeos' own binary, what is added to its command line, and what runs beside it.
type Program struct {
	Tag      string    // names this version to whoever chose it; opaque here, told by Status
	Path     string    // of nodeos; looked up in PATH if it has no slash
	Args     []string  // after --config-dir, --data-dir, -e, --pause-on-startup; what CheckArgs refuses is not started
	Env      []string  // nil = this process's; JOURNAL_STREAM (FACT 4) and ROUNDTABLE_* are taken out
	Sidecars []Sidecar // run as one unit with nodeos
}

// Sidecar is a process that belongs to a version of nodeos.
type Sidecar struct {
	Name string // in Status and in the log
	Path string
	Args []string
	Env  []string // added to the node's own environment
}

// choose asks which program the next start runs. Only Run's goroutine calls it, and only that one reads s.program.
func (s *Supervisor) choose(ctx context.Context) error {
	p, err := s.cfg.Program(ctx)
	if err != nil {
		return fmt.Errorf("program: %w", err)
	}
	s.program = p
	s.mu.Lock()
	s.lastArgs = p.Args
	s.mu.Unlock()
	s.set(func(st *Status) { st.Tag, st.Path = p.Tag, p.Path })
	if p.Path == "" {
		return fmt.Errorf("program %s: no path", p.Tag)
	}
	return CheckArgs(p.Args)
}
