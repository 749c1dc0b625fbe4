package versions

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// maxSmall bounds what is read into memory in bytes: a release's description, a checksum file.
const maxSmall = 8 << 20

// maxBackoff is the longest pause between two tries.
const maxBackoff = 30 * time.Second

// client fetches, for one request.
type client struct {
	http    *http.Client
	token   string
	origin  string // the only one that gets the token
	retries int
	stall   time.Duration
	pause   func(ctx context.Context, d time.Duration) error
}

// Why a redirect is not followed.
var (
	errDowngrade = errors.New("it leads from https to http")
	errCircle    = errors.New("it leads on and on")
)

// client makes one; close ends its connections.
func (h *Home) client(req Request) (c *client, closing func(), err error) {
	c = &client{retries: max(req.ConnectionRetries, 0), stall: h.cfg.Stall, pause: h.pause}
	if req.TokenFile != "" && req.Source != "" {
		p, err := h.locate(req.Source, req.Tag)
		if err != nil {
			return nil, nil, err
		}
		if c.token, err = readToken(req.TokenFile); err != nil {
			return nil, nil, err
		}
		if p.how != HowFile {
			c.origin = origin(p.url)
			if ip := net.ParseIP(p.url.Hostname()); p.url.Scheme != "https" && p.url.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
				return nil, nil, problem(ErrSource, "write https://, or take the token away", "the token is not sent to %s, where everybody could read it", c.origin)
			}
		}
	}
	t := http.DefaultTransport
	closing = func() {}
	if h.cfg.Transport != nil {
		own := h.cfg.Transport.Clone()
		t, closing = own, own.CloseIdleConnections
	}
	c.http = &http.Client{Transport: t, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) > 10 {
			return errCircle
		}
		if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
			return errDowngrade
		}
		if origin(req.URL) != c.origin {
			req.Header.Del("Authorization") // net/http would still send it to a subdomain, and to another port
		}
		return nil
	}}
	return c, closing, nil
}

// readToken reads a bearer token from its file.
func readToken(name string) (string, error) {
	b, err := readSmall(name)
	if err != nil {
		return "", problem(ErrSource, "the file holds the token alone, and the user that runs roundtable can read it", "the token").because(err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", problem(ErrSource, "the file holds the token alone, on one line", "%s holds no token", name)
	}
	return token, nil
}

// get asks once. The answer has the status 200, 206 or 416; every other one is a problem.
func (c *client) get(ctx context.Context, a Asset, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url.String(), nil)
	if err != nil {
		return nil, problem(ErrSource, sourceHint, "%s is no URL", shown(a.url.String()))
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", "roundtable")
	req.Header.Set("Accept-Encoding", "identity") // else net/http unpacks what a checksum and a Range are about
	if a.raw {
		req.Header.Set("Accept", "application/octet-stream")
	}
	if c.token != "" && origin(a.url) == c.origin {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.lost(ctx, a, err)
	}
	name := shown(a.url.String())
	switch s := resp.StatusCode; {
	case s == http.StatusOK, s == http.StatusPartialContent, s == http.StatusRequestedRangeNotSatisfiable:
		return resp, nil
	case s == http.StatusNotFound, s == http.StatusGone:
		err = problem(ErrMissing, "look whether that version is there, and is named so", "%s answers %d: it is not there", name, s)
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		err = problem(ErrSource, "it may want a token, or another one, or have had too many requests", "%s answers %d", name, s)
	case s == http.StatusTooManyRequests, s >= http.StatusInternalServerError:
		err = problem(ErrConnection, "try again later: roundtable upgrade goes on where it was", "%s answers %d", name, s)
	default:
		err = problem(ErrSource, "look what it says in a browser", "%s answers %d", name, s)
	}
	_ = resp.Body.Close()
	return nil, err
}

// there looks whether a server has an asset, by its first byte.
func (c *client) there(ctx context.Context, a Asset) error {
	if a.How == HowFile {
		return nil // exists has looked
	}
	return c.again(ctx, func() (int64, error) {
		watched, _, stop := watch(ctx, c.stall)
		defer stop()
		resp, err := c.get(watched, a, http.Header{"Range": {"bytes=0-0"}})
		if err != nil {
			return 0, err
		}
		return 0, resp.Body.Close()
	})
}

// lost is the problem behind a request that had no answer, or a body that ended early.
func (c *client) lost(ctx context.Context, a Asset, err error) error {
	name := shown(a.url.String())
	if cause := context.Cause(ctx); errors.Is(cause, ErrStalled) {
		return problem(ErrStalled, "look at the network and the server; a repeat goes on where it was", "%s: not a byte for %s", name, c.stall)
	} else if cause != nil {
		return cause
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // its text has the URL with all that is secret
	}
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(err, &untrusted):
		return problem(ErrSource, "install the certificate of its CA on this machine, and look at the clock", "the certificate of %s is not trusted", name).because(err)
	case errors.Is(err, errDowngrade), errors.Is(err, errCircle):
		return problem(ErrSource, "somebody may be in between: name the final https address", "%s is refused", name).because(err)
	}
	return problem(ErrConnection, "look at the network, the name and the proxy; a repeat goes on where it was", "%s", name).because(err)
}

// again repeats what lost its connection, after growing pauses. try says how far it came, in any unit; one that came further
// than all before has not used up a try.
func (c *client) again(ctx context.Context, try func() (reached int64, err error)) error {
	var best int64
	for failed := 0; ; {
		reached, err := try()
		if err == nil || ctx.Err() != nil || !errors.Is(err, ErrConnection) && !errors.Is(err, ErrStalled) {
			return err
		}
		if reached > best {
			best, failed = reached, 0
		}
		if failed++; failed > c.retries {
			return err
		}
		if err := c.pause(ctx, min(time.Second<<min(failed-1, 10), maxBackoff)); err != nil {
			return err
		}
	}
}

// watch gives a context that ends as stalled where alive was not called for so long; stop must be called.
func watch(ctx context.Context, stall time.Duration) (watched context.Context, alive, stop func()) {
	watched, cancel := context.WithCancelCause(ctx)
	t := time.AfterFunc(stall, func() { cancel(ErrStalled) })
	return watched, func() { t.Reset(stall) }, func() { t.Stop(); cancel(nil) }
}

// small fetches a small document.
func (c *client) small(ctx context.Context, a Asset) (text []byte, err error) {
	if a.url.Scheme == "file" {
		text, err = readSmall(a.url.Path)
		if errors.Is(err, os.ErrNotExist) {
			return nil, problem(ErrMissing, "put the file there", "there is no %s", a.url.Path)
		}
		if err != nil {
			return nil, problem(ErrSource, "the user that runs roundtable must be able to read it", "%s", a.url.Path).because(err)
		}
		return text, nil
	}
	if a.url.Scheme != "http" && a.url.Scheme != "https" {
		return nil, problem(ErrSource, sourceHint, "%s is of no kind that is known", shown(a.url.String()))
	}
	header := http.Header{}
	if a.How == HowRelease && !a.raw {
		header.Set("Accept", "application/vnd.github+json, application/json;q=0.9, */*;q=0.8")
	}
	err = c.again(ctx, func() (int64, error) {
		watched, alive, stop := watch(ctx, c.stall)
		defer stop()
		resp, err := c.get(watched, a, header)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		text, err = io.ReadAll(io.LimitReader(tick{resp.Body, alive}, maxSmall+1))
		if err != nil {
			return 0, c.lost(watched, a, err)
		}
		if len(text) > maxSmall {
			return 0, problem(ErrSource, sourceHint, "%s has more than %d bytes", shown(a.url.String()), maxSmall)
		}
		return int64(len(text)), nil
	})
	return text, err
}

// tick says of each byte that comes that there is life.
type tick struct {
	io.Reader
	alive func()
}

// Read implements io.Reader.
func (t tick) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	if n > 0 {
		t.alive()
	}
	return n, err
}

// rangeOf reads "bytes 5-9/10": from 5 of 10, -1 where the whole is not known.
func rangeOf(s string) (from, whole int64, ok bool) {
	var to int64
	if n, err := fmt.Sscanf(s, "bytes %d-%d/%d", &from, &to, &whole); err == nil && n == 3 {
		return from, whole, from >= 0 && to >= from && whole > to
	}
	if n, err := fmt.Sscanf(s, "bytes %d-%d/*", &from, &to); err == nil && n == 2 {
		return from, -1, from >= 0 && to >= from
	}
	return 0, 0, false
}
