package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// A stream begins with a hello of the dialer: one byte for its kind, then three names, each with its length in one byte:
// who dials, whom it means ("" where it does not know), and the group's id ("" where it has none yet). The answer is one
// byte, 0 for welcome; any other byte is the length of the reason that follows, and the stream ends.
//
// The group's id is drawn at bootstrap and taken over by whoever is added. It keeps two clusters apart that hear each
// other by mistake: a manager that lost its disk and bootstrapped anew must never replicate to the old group.
const (
	kindRaft    = 'R'
	kindForward = 'F'
	maxName     = 128

	helloTimeout = 2 * time.Second
)

type hello struct {
	kind            byte
	from, to, group string
}

func writeHello(w io.Writer, h hello) error {
	b := []byte{h.kind}
	for _, s := range []string{h.from, h.to, h.group} {
		if len(s) > maxName {
			return fmt.Errorf("hello: a name of %d bytes", len(s))
		}
		b = append(append(b, byte(len(s))), s...)
	}
	_, err := w.Write(b)
	return err
}

func readHello(r io.Reader) (hello, error) {
	var h hello
	var b [maxName]byte
	if _, err := io.ReadFull(r, b[:1]); err != nil {
		return h, err
	}
	h.kind = b[0]
	if h.kind != kindRaft && h.kind != kindForward {
		return h, fmt.Errorf("a stream of unknown kind %d", h.kind)
	}
	for _, s := range []*string{&h.from, &h.to, &h.group} {
		if _, err := io.ReadFull(r, b[:1]); err != nil {
			return h, err
		}
		n := int(b[0])
		if n > maxName {
			return h, fmt.Errorf("a name of %d bytes", n)
		}
		if _, err := io.ReadFull(r, b[:n]); err != nil {
			return h, err
		}
		*s = string(b[:n])
	}
	if h.from == "" {
		return h, errors.New("a stream from nobody")
	}
	return h, nil
}

func writeWelcome(w io.Writer, refusal error) error {
	if refusal == nil {
		_, err := w.Write([]byte{0})
		return err
	}
	reason := refusal.Error()
	reason = reason[:min(len(reason), 255)]
	_, err := w.Write(append([]byte{byte(len(reason))}, reason...))
	return err
}

func readWelcome(r io.Reader) error {
	var b [256]byte
	if _, err := io.ReadFull(r, b[:1]); err != nil {
		return err
	}
	n := int(b[0])
	if n == 0 {
		return nil
	}
	if _, err := io.ReadFull(r, b[1:1+n]); err != nil {
		return err
	}
	return fmt.Errorf("refused by the peer: %s", b[1:1+n])
}

// serverTLS and clientTLS are the two sides of one mutual configuration.
func serverTLS(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.ClientAuth = tls.RequireAndVerifyClientCert
	if c.ClientCAs == nil {
		c.ClientCAs = c.RootCAs
	}
	c.MinVersion = tls.VersionTLS13
	return c
}

// clientTLS checks the server's chain against the cluster's CA and its name against the member id, where the dialer knows
// whom it means. Host names play no part: members are known by id and move between addresses.
func clientTLS(c *tls.Config, id string) *tls.Config {
	c = c.Clone()
	c.MinVersion = tls.VersionTLS13
	c.InsecureSkipVerify = true // replaced by VerifyConnection
	roots := c.RootCAs
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("the peer has no certificate")
		}
		opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		if c.Time != nil {
			opts.CurrentTime = c.Time()
		}
		for _, ic := range s.PeerCertificates[1:] {
			opts.Intermediates.AddCert(ic)
		}
		if _, err := s.PeerCertificates[0].Verify(opts); err != nil {
			return err
		}
		if id != "" {
			return certifies(s.PeerCertificates[0], id)
		}
		return nil
	}
	return c
}

// certifies checks that a certificate was issued to a member: its common name or one of its DNS names is the id.
func certifies(cert *x509.Certificate, id string) error {
	if cert.Subject.CommonName == id || slices.Contains(cert.DNSNames, id) {
		return nil
	}
	return fmt.Errorf("the certificate of %q does not name member %q", cert.Subject.CommonName, id)
}

// peerCertificate returns the certificate behind a stream, nil for a plain one.
func peerCertificate(conn net.Conn) *x509.Certificate {
	t, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	if certs := t.ConnectionState().PeerCertificates; len(certs) > 0 {
		return certs[0]
	}
	return nil
}
