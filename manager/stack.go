package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"roundtable/logkey"
)

// stack closes what was opened, in the reverse order. Each part has a name for the log and a bound of its own; one that
// fails or runs out of time does not keep the next from closing. Close is idempotent.
type stack struct {
	log   *slog.Logger
	mu    sync.Mutex
	parts []part
}

type part struct {
	name  string
	bound func() time.Duration
	close func(context.Context) error
}

func (s *stack) push(name string, bound time.Duration, f func(context.Context) error) {
	s.pushBound(name, func() time.Duration { return bound }, f)
}

// pushBound is push where the bound is what it is when the part is closed.
func (s *stack) pushBound(name string, bound func() time.Duration, f func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts = append(s.parts, part{name, bound, f})
}

// close runs down the stack. When ctx ends, what is left gets a short moment each.
func (s *stack) close(ctx context.Context) error {
	var all error
	for {
		s.mu.Lock()
		if len(s.parts) == 0 {
			s.mu.Unlock()
			return all
		}
		p := s.parts[len(s.parts)-1]
		s.parts = s.parts[:len(s.parts)-1]
		s.mu.Unlock()
		bounded, cancel := context.WithTimeout(ctx, p.bound())
		if ctx.Err() != nil {
			cancel()
			bounded, cancel = context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		}
		since := time.Now()
		err := p.close(bounded)
		cancel()
		if err != nil {
			all = errors.Join(all, fmt.Errorf("close %s: %w", p.name, err))
			s.log.Warn("closed with an error", logkey.Part, p.name, "after", time.Since(since).Round(time.Millisecond), "err", err)
			continue
		}
		s.log.Info("closed", logkey.Part, p.name, "after", time.Since(since).Round(time.Millisecond))
	}
}
