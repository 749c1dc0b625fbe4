package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// How far two clocks may be apart: S3 and Azure refuse requests after 15 min, Google after 5 to 10.
const maxSkew = 4 * time.Minute

// network says what an error below HTTP means; ok is false for one that comes from above.
func network(err error) (v verdict, ok bool) {
	var dns *net.DNSError
	var operation *net.OpError
	var timeout net.Error
	switch {
	case errors.Is(err, errStalled):
		return verdict{code: Stalled, temporary: true}, true
	case untrusted(err):
		return verdict{code: TLS}, true
	case errors.As(err, &dns):
		return verdict{code: Unreachable, temporary: true}, true
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return verdict{code: Unreachable, temporary: true}, true
	case errors.As(err, &operation) && operation.Op == "dial":
		return verdict{code: Unreachable, temporary: true}, true
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, net.ErrClosed), operation != nil:
		return verdict{code: Lost, temporary: true}, true
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return verdict{code: Stalled, temporary: true}, true
	case strings.Contains(err.Error(), "server closed idle connection"), strings.Contains(err.Error(), "http2: "):
		return verdict{code: Lost, temporary: true}, true
	}
	return verdict{}, false
}

// untrusted reports whether the trouble is who answers, or in which language.
func untrusted(err error) bool {
	var (
		record      tls.RecordHeaderError
		certificate *tls.CertificateVerificationError
		authority   x509.UnknownAuthorityError
		hostname    x509.HostnameError
		invalid     x509.CertificateInvalidError
		alert       tls.AlertError
	)
	return errors.As(err, &record) || errors.As(err, &certificate) || errors.As(err, &authority) || errors.As(err, &hostname) ||
		errors.As(err, &invalid) || errors.As(err, &alert) || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// status says what an HTTP status means where the store's own code did not tell.
func status(code int) verdict {
	switch {
	case code == http.StatusUnauthorized:
		return verdict{code: Credentials}
	case code == http.StatusForbidden:
		return verdict{code: Permission}
	case code == http.StatusNotFound:
		return verdict{code: NotFound}
	case code == http.StatusConflict, code == http.StatusRequestTimeout:
		return verdict{code: Server, temporary: true}
	case code == http.StatusPreconditionFailed:
		return verdict{code: Exists}
	case code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable:
		return verdict{code: Throttled, temporary: true}
	case code == http.StatusInsufficientStorage:
		return verdict{code: NoSpace}
	case code == http.StatusNotImplemented:
		return verdict{code: Refused}
	case code >= 500:
		return verdict{code: Server, temporary: true}
	}
	return verdict{code: Refused}
}

// skewed makes a refusal one of the clock where the clocks are so far apart that no signature can be good.
func (t *transport) skewed(v verdict) verdict {
	skew := time.Duration(t.skew.Load())
	if skew.Abs() < maxSkew || v.code != Credentials && v.code != Permission && v.code != Clock {
		return v
	}
	way := "ahead of"
	if skew < 0 {
		way = "behind"
	}
	return verdict{code: Clock, text: fmt.Sprintf("it is %s %s the store's", skew.Abs().Round(time.Second), way)}
}
