package security

import (
	"context"
	"crypto/x509"
	"math/rand/v2"
	"slices"
	"time"
)

// When a certificate is renewed: a third of its life before it ends, spread over a further thirtieth.
const (
	renewShare  = 3
	spreadShare = 30
)

// How often a renewal that failed is tried again: from a minute on, doubling, to six hours; more often when the end is
// near. firstRetry and all below shrink with the certificate's life, so that a short one is treated the same.
const (
	firstRetry = time.Minute
	lastRetry  = 6 * time.Hour
	leftShare  = 10 // of what is left of the life, at the most
	least      = MemberLife / (100 * time.Millisecond)
)

// renewAt is when a certificate is to be renewed. jitter is 0..1.
func renewAt(c *x509.Certificate, jitter float64) time.Time {
	life := c.NotAfter.Sub(c.NotBefore)
	return c.NotAfter.Add(-life/renewShare - time.Duration(jitter*float64(life/spreadShare)))
}

// retryAfter is how long to wait after so many failures in a row. jitter is 0..1.
func retryAfter(failures int, c *x509.Certificate, now time.Time, jitter float64) time.Duration {
	wait := lastRetry
	if failures < 10 {
		wait = min(firstRetry<<max(failures-1, 0), lastRetry)
	}
	if left := c.NotAfter.Sub(now); left > 0 {
		wait = min(wait, left/leftShare)
	} else {
		wait = min(wait, firstRetry)
	}
	wait = max(wait, c.NotAfter.Sub(c.NotBefore)/least)
	return wait + time.Duration(jitter*float64(wait/5))
}

// lacks reports whether a certificate is not good for one of the hosts.
func lacks(c *x509.Certificate, hosts []string) bool {
	return slices.ContainsFunc(hosts, func(h string) bool { return c.VerifyHostname(h) != nil })
}

// renewWait bounds one renewal.
const renewWait = 20 * time.Second

// renewal is where the certificate's renewal stands.
type renewal struct {
	failures int
	at       time.Time // when to try next
}

// plan says when to try, after the files changed, a renewal or its failure.
func (k *Keeper) plan(r renewal) renewal {
	c, now := k.loaded.Load().leaf(), k.cfg.Now()
	switch {
	case r.failures > 0:
		r.at = now.Add(retryAfter(r.failures, c, now, rand.Float64())) //nolint:gosec // no secret
	case k.cfg.Renew && lacks(c, *k.hosts.Load()):
		r.at = now
	default:
		r.at = renewAt(c, k.jitter)
	}
	return r
}

// due renews, or says that somebody else must.
func (k *Keeper) due(ctx context.Context, r renewal) renewal {
	c := k.loaded.Load().leaf()
	if k.cfg.Now().Before(r.at) { // woken for something else
		return r
	}
	err := errNotRenewed
	if k.cfg.Renew {
		ctx, cancel := context.WithTimeout(ctx, renewWait)
		defer cancel()
		err = k.Renew(ctx)
	}
	if err == nil {
		k.well()
		k.log.Info("tls: certificate renewed", "until", k.loaded.Load().leaf().NotAfter.UTC().Format(time.RFC3339))
		return k.plan(renewal{})
	}
	if ctx.Err() != nil {
		return r
	}
	k.troubled("the certificate ends at "+c.NotAfter.UTC().Format(time.RFC3339)+" and was not renewed", err)
	return k.plan(renewal{failures: r.failures + 1})
}
