package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// errStalled ends a transfer that moves nothing.
var errStalled = errors.New("no bytes for too long")

// transport is how all requests travel: limited, and ended when nothing moves. The wait for the answer counts, too.
type transport struct {
	base   *http.Transport
	limits *Limits
	stall  time.Duration
	skew   atomic.Int64 // ns that our clock was ahead of the server's with the last answer
}

func newTransport(o Options, caFile string) (*transport, error) {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.DialContext = (&net.Dialer{Timeout: o.Stall, KeepAlive: 15 * time.Second}).DialContext
	base.TLSHandshakeTimeout = o.Stall
	base.MaxIdleConnsPerHost = 32
	base.DisableCompression = true // what is stored is what shall arrive
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, err
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate is in %s", caFile)
		}
		base.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &transport{base: base, limits: o.Limits, stall: o.Stall}, nil
}

// client follows no redirects: they would be signed for another host.
func (t *transport) client() *http.Client {
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// RoundTrip sends a request.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	dog := time.AfterFunc(t.stall, func() { cancel(errStalled) })
	moved := func() { dog.Reset(t.stall) }
	end := func() { dog.Stop(); cancel(nil) }

	req = req.WithContext(ctx)
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = &paced{ctx: ctx, r: req.Body, limiter: t.limits.upwards(), moved: moved}
		req.GetBody = nil // we try again ourselves
	}
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		if context.Cause(ctx) == errStalled { //nolint:errorlint // the cause is ours as it is
			err = fmt.Errorf("%w (%s): %w", errStalled, t.stall, err)
		}
		end()
		return nil, err
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		t.skew.Store(int64(time.Since(at)))
	}
	resp.Body = &paced{ctx: ctx, r: stalling{resp.Body, ctx}, limiter: t.limits.downwards(), moved: moved, closed: end}
	return resp, nil
}

// stalling is a body whose errors say that it was ended for standing still.
type stalling struct {
	body interface {
		Read([]byte) (int, error)
		Close() error
	}
	ctx context.Context
}

func (s stalling) Read(b []byte) (int, error) {
	n, err := s.body.Read(b)
	if err != nil && context.Cause(s.ctx) == errStalled { //nolint:errorlint // the cause is ours as it is
		err = errStalled
	}
	return n, err
}

func (s stalling) Close() error { return s.body.Close() }
