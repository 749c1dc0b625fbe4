package cluster

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// A stream begins with a hello of the dialer: one byte for its kind, then three names, each with its length in one byte:
// who dials, whom it means ("" where it does not know), and the group's id ("" where it has none yet). The answer is one
// byte, 0 for welcome; any other byte is the length of the reason that follows, and the stream ends. A stream that only asks for
// the group is answered with 0 and the group's id, and ends.
//
// The group's id is drawn at bootstrap and taken over by whoever is added. It keeps two clusters apart that hear each
// other by mistake: a manager that lost its disk and bootstrapped anew must never replicate to the old group.
const (
	kindRaft    = 'R'
	kindForward = 'F'
	kindGroup   = 'G' // since entry version 2
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

// readName reads a name and its length.
func readName(r io.Reader) (string, error) {
	var b [maxName]byte
	if _, err := io.ReadFull(r, b[:1]); err != nil {
		return "", err
	}
	n := int(b[0])
	if n > maxName {
		return "", fmt.Errorf("a name of %d bytes", n)
	}
	_, err := io.ReadFull(r, b[:n])
	return string(b[:n]), err
}

func readHello(r io.Reader) (hello, error) {
	var h hello
	var b [1]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return h, err
	}
	h.kind = b[0]
	if h.kind != kindRaft && h.kind != kindForward && h.kind != kindGroup {
		return h, fmt.Errorf("a stream of unknown kind %d", h.kind)
	}
	for _, s := range []*string{&h.from, &h.to, &h.group} {
		name, err := readName(r)
		if err != nil {
			return h, err
		}
		*s = name
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
	return &refusedError{string(b[1 : 1+n])}
}

// refusedError is a stream that the other side did not want.
type refusedError struct{ reason string }

// Error says why.
func (e *refusedError) Error() string { return "refused by the peer: " + e.reason }

// certified is the member that the certificate behind a stream names; "" for a plain one.
func certified(conn net.Conn) string {
	t, ok := conn.(*tls.Conn)
	if !ok {
		return ""
	}
	if certs := t.ConnectionState().PeerCertificates; len(certs) > 0 {
		return certs[0].Subject.CommonName
	}
	return ""
}
