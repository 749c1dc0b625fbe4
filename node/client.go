package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// maxAnswer bounds what is read of an answer. get_block of a full block has a few MB; the others a few KB.
const maxAnswer = 16 << 20

// ClientConfig configures a Client.
type ClientConfig struct {
	Addr    string        // "127.0.0.1:8888", exactly as in http-server-address, or "unix:///path/of.sock"
	Host    string        // Host header; "" = Addr, or "localhost" on a unix socket. nodeos checks it to the letter (FACT 27)
	Timeout time.Duration // per request, but for CreateSnapshot; 0 = 3 s
}

// Client talks to the local nodeos over HTTP. It may be used from any goroutine; it keeps connections alive.
//
// That get_info answers proves nothing: http threads answer it from a cache while the main thread hangs (FACTS 12, 28).
// Paused, Schedule and the like go through the main thread and do time out then.
type Client struct {
	base    string
	host    string
	timeout time.Duration
	http    *http.Client
}

// Errors to ask an *APIError for with errors.Is.
var (
	ErrUnknownBlock    = errors.New("unknown block")
	ErrUnknownEndpoint = errors.New("unknown endpoint") // the plugin is not loaded
	ErrPastBlock       = errors.New("that block is past")
	ErrNoTable         = errors.New("no such account or table")
	ErrSnapshotExists  = errors.New("there is a chain snapshot of that block") // a finished one, in the snapshots folder (not recorded: from nodeos' source)
	ErrSnapshotTwice   = errors.New("that chain snapshot is scheduled already")
)

// APIError is nodeos' own error answer (FACT 27).
type APIError struct {
	Path    string
	Status  int    // of HTTP
	Code    int    // nodeos' number, 3100002
	Name    string // unknown_block_exception
	What    string // Unknown block
	Message string // the first detail: Could not find block: 99999999
}

// Error gives the path, the status, and the most telling texts.
func (e *APIError) Error() string {
	return fmt.Sprintf("nodeos: %s: %d %s: %s", e.Path, e.Status, e.Name, e.Message)
}

// Is matches the errors above.
func (e *APIError) Is(target error) bool {
	switch target {
	case ErrUnknownBlock:
		return e.Name == "unknown_block_exception"
	case ErrUnknownEndpoint:
		return e.Status == http.StatusNotFound
	case ErrPastBlock:
		return e.Name == "invalid_pause_at_block_request"
	case ErrSnapshotExists:
		return e.Name == "snapshot_exists_exception"
	case ErrSnapshotTwice:
		return e.Name == "duplicate_snapshot_request"
	case ErrNoTable:
		return e.Name == "account_query_exception" || e.Name == "contract_table_query_exception"
	}
	return false
}

// NewClient makes a client; nothing is connected yet. Close lets idle connections go.
func NewClient(cfg ClientConfig) (*Client, error) {
	network, addr := "tcp", cfg.Addr
	if path, ok := strings.CutPrefix(cfg.Addr, "unix://"); ok {
		network, addr = "unix", path
		if cfg.Host == "" {
			cfg.Host = "localhost"
		}
	} else if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, fmt.Errorf("node: client address: %w", err)
	}
	if cfg.Host == "" {
		cfg.Host = addr
	}
	setDefault(&cfg.Timeout, 3*time.Second)
	dialer := net.Dialer{Timeout: cfg.Timeout}
	return &Client{
		base: "http://" + cfg.Host, host: cfg.Host, timeout: cfg.Timeout,
		http: &http.Client{
			Transport: &http.Transport{
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return dialer.DialContext(ctx, network, addr)
				},
				DisableCompression: true, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Close lets idle connections go.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// read asks for something that may be asked again on a broken connection, and decodes the answer into out.
func (c *Client) read(ctx context.Context, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return c.do(ctx, path, in, out, true)
}

// do sends one POST. in nil sends no body at all: a JSON body on pause or resume is answered with 400 (FACT 23). out may be
// nil, a *[]byte for the raw body, or anything JSON goes into.
func (c *Client) do(ctx context.Context, path string, in, out any, repeatable bool) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("node: %s: %w", path, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, body)
	if err != nil {
		return fmt.Errorf("node: %s: %w", path, err)
	}
	req.Host = c.host
	req.Header["User-Agent"] = nil
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if repeatable {
		req.Header["Idempotency-Key"] = nil // net/http: may be sent again if a kept connection turns out closed; not sent itself
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("node: %s: %w", path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("node: %s: %w", path, err)
	}
	if len(b) > maxAnswer {
		return fmt.Errorf("node: %s: answer is longer than %d bytes", path, maxAnswer)
	}
	if resp.StatusCode/100 != 2 { // producer and net endpoints answer 201
		return apiError(path, resp.StatusCode, b)
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = b
		return nil
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("node: %s: answer: %w", path, err)
	}
	return nil
}

func apiError(path string, status int, body []byte) error {
	var answer struct {
		Message string `json:"message"`
		Error   struct {
			Code    int    `json:"code"`
			Name    string `json:"name"`
			What    string `json:"what"`
			Details []struct {
				Message string `json:"message"`
			} `json:"details"`
		} `json:"error"`
	}
	e := &APIError{Path: path, Status: status}
	if json.Unmarshal(body, &answer) != nil {
		e.Message = string(body[:min(len(body), 200)])
		return e
	}
	e.Code, e.Name, e.What, e.Message = answer.Error.Code, answer.Error.Name, answer.Error.What, answer.Message
	for _, d := range answer.Error.Details {
		if d.Message != "" {
			e.Message = d.Message
			break
		}
	}
	return e
}
