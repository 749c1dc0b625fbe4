package cluster

import (
	"context"
	"errors"
	"time"
)

const (
	lonelyAfter = 5 * time.Second // without a leader; an election takes less
	lonelyEvery = 10 * time.Second
)

// wonder asks the other members why nobody leads as far as known here, once that has lasted: they may refuse this one, and a
// member that was removed while it was away, or that is of another group, would else wait for a leader for ever and not say why.
func (c *Cluster) wonder() {
	since, said := time.Now(), ""
	for {
		s := c.leadership.now.Load()
		if s.leader != "" {
			since, said = time.Now(), ""
		}
		if time.Since(since) >= lonelyAfter {
			if why := c.refusal(); why != "" && why != said {
				said = why
				c.log.Warn("nobody leads as far as known here, and this member is refused", "err", why)
			}
			if !sleep(c.ctx, lonelyEvery) {
				return
			}
			continue
		}
		timer := time.NewTimer(lonelyAfter)
		select {
		case <-c.ctx.Done():
			timer.Stop()
			return
		case <-s.changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// refusal is what one of the members answers that does not let this one in; "" where none does so.
func (c *Cluster) refusal() string {
	for _, s := range c.servers() {
		if string(s.ID) == c.cfg.ID {
			continue
		}
		address, err := whereabouts{c}.ServerAddr(s.ID)
		if err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(c.ctx, answerTime)
		conn, err := c.streams.dial(ctx, kindForward, string(address), string(s.ID))
		cancel()
		if err == nil {
			_ = conn.Close()
		}
		if refused := (*refusedError)(nil); errors.As(err, &refused) {
			return err.Error()
		}
	}
	return ""
}
