package store

import (
	"context"
	"io"

	"golang.org/x/time/rate"
)

// Limits are how many bytes a second all transfers that share them may move together. A nil one limits nothing.
type Limits struct {
	up, down *rate.Limiter
}

// chunk is how many bytes are moved at a time, at most: after each one is asked whether to go on.
const chunk = 256 << 10

// NewLimits takes bytes a second, 0 for no limit.
func NewLimits(up, down int64) *Limits {
	limiter := func(bytes int64) *rate.Limiter {
		if bytes <= 0 {
			return nil
		}
		return rate.NewLimiter(rate.Limit(bytes), int(min(max(bytes/8, 4<<10), chunk)))
	}
	return &Limits{up: limiter(up), down: limiter(down)}
}

func (l *Limits) upwards() *rate.Limiter {
	if l == nil {
		return nil
	}
	return l.up
}

func (l *Limits) downwards() *rate.Limiter {
	if l == nil {
		return nil
	}
	return l.down
}

// step is how many bytes to move next.
func step(l *rate.Limiter, left int) int {
	if l == nil {
		return min(left, chunk)
	}
	return min(left, l.Burst())
}

// pay waits until n more bytes, at most a step, may be moved.
func pay(ctx context.Context, l *rate.Limiter, n int) error {
	if l == nil {
		return ctx.Err()
	}
	if err := l.WaitN(ctx, n); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return context.DeadlineExceeded // it would end before that
	}
	return nil
}

// paced is a reader that is limited and that says when it moves.
type paced struct {
	ctx     context.Context
	r       io.ReadCloser
	limiter *rate.Limiter
	moved   func()
	closed  func() // may be nil
}

func (p *paced) Read(b []byte) (int, error) {
	n, err := p.r.Read(b[:step(p.limiter, len(b))])
	if n > 0 {
		p.moved()
		if e := pay(p.ctx, p.limiter, n); e != nil {
			return n, e
		}
		p.moved()
	}
	return n, err
}

func (p *paced) Close() error {
	if p.closed != nil {
		defer p.closed()
	}
	return p.r.Close()
}
