package security

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"
)

// Why a peer's certificate is refused.
const (
	ReasonNone    = "no_certificate"
	ReasonForeign = "foreign_certificate" // of no CA of this cluster
	ReasonExpired = "expired_certificate"
	// ReasonPredecessor: of another machine, which had the member's id before.
	ReasonPredecessor = "predecessor_certificate"
	ReasonOther       = "bad_certificate"
)

// Reasons are all of them.
var Reasons = []string{ReasonNone, ReasonForeign, ReasonExpired, ReasonPredecessor, ReasonOther}

var errNoCertificate = errors.New("security: the peer shows no certificate")

// admit checks who dials, and tells whom it refuses.
func (k *Keeper) admit(s tls.ConnectionState, needed bool, refused func(reason string)) error {
	var err error
	switch {
	case len(s.PeerCertificates) > 0:
		err = verify(s.PeerCertificates, k.loaded.Load().pool, x509.ExtKeyUsageClientAuth, k.cfg.Now())
		if err == nil && Predates(s.PeerCertificates[0], k.admitted(Peer(&s))) {
			err = errPredecessor
		}
	case needed:
		err = errNoCertificate
	}
	if err != nil {
		refused(reason(err))
	}
	return err
}

func (k *Keeper) count(reason string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refused[reason]++
}

func reason(err error) string {
	var foreign x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.Is(err, errNoCertificate):
		return ReasonNone
	case errors.Is(err, errPredecessor):
		return ReasonPredecessor
	case errors.As(err, &foreign):
		return ReasonForeign
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return ReasonExpired
	}
	return ReasonOther
}

// Peer is the member at the other end of a connection that a Keeper's configuration has verified; "" where it showed no
// certificate, or there is no TLS.
func Peer(s *tls.ConnectionState) string {
	if s == nil || len(s.PeerCertificates) == 0 {
		return ""
	}
	return s.PeerCertificates[0].Subject.CommonName
}

var errPredecessor = errors.New("security: the certificate is older than its member: another machine had the id before")

// Know tells since when (Unix ms) members are who they are by their newest invite; 0: they came without one.
func (k *Keeper) Know(admitted func(member string) int64) { k.known.Store(&admitted) }

func (k *Keeper) admitted(member string) int64 {
	if f := k.known.Load(); f != nil {
		return (*f)(member)
	}
	return 0
}

// Predates reports whether a certificate was made before its member was let in by an invite (Unix ms; 0: it was not): it is of
// another machine that had the member's id before.
func Predates(c *x509.Certificate, admitted int64) bool {
	return admitted != 0 && c.NotBefore.Add(backdated+disagreement).Before(time.UnixMilli(admitted))
}

// peerIs checks a server's chain, and that it is the member that was meant. Only the common name counts: hosts are what
// somebody asked for.
func peerIs(s tls.ConnectionState, member string, pool *x509.CertPool, now time.Time) error {
	if len(s.PeerCertificates) == 0 {
		return errNoCertificate
	}
	if err := verify(s.PeerCertificates, pool, x509.ExtKeyUsageServerAuth, now); err != nil {
		return err
	}
	if is := Peer(&s); member != "" && is != member {
		return fmt.Errorf("security: this is %q, not %q", is, member)
	}
	return nil
}

// dialTime bounds dialing a member's API, handshake included.
const dialTime = 3 * time.Second

// Transport reaches the other members' APIs as this member. who tells the member at an address (host:port); an address of
// no member is not dialed.
func (k *Keeper) Transport(who func(address string) (member string, ok bool)) *http.Transport {
	return &http.Transport{
		IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 4,
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			member, ok := who(address)
			if !ok {
				return nil, fmt.Errorf("security: no member is at %s", address)
			}
			return (&tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTime}, Config: k.Client(member)}).DialContext(ctx, network, address)
		},
	}
}

// Introduction is the TLS of somebody who is not in the cluster yet: it speaks with whoever has a certificate of a CA with
// one of these fingerprints. The server sends its CA along for this.
func Introduction(cas []string, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Time: now,
		InsecureSkipVerify: true, // VerifyConnection does it, by fingerprint
		VerifyConnection: func(s tls.ConnectionState) error {
			pool := x509.NewCertPool()
			for _, c := range s.PeerCertificates {
				if c.IsCA && slices.Contains(cas, Fingerprint(c)) {
					pool.AddCert(c)
				}
			}
			if err := peerIs(s, "", pool, now()); err != nil {
				return fmt.Errorf("security: the server is not of the cluster that the join string is for: %w", err)
			}
			return nil
		},
	}
}
