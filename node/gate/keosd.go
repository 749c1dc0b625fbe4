package gate

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	keosdSignPath = "/v1/wallet/sign_digest"
	keosdKeysPath = "/v1/wallet/get_public_keys"
	keosdAnswer   = 64 << 10
)

// ErrKeosd is wrapped by every error about reaching a keosd.
var ErrKeosd = errors.New("keosd")

// KeosdSigner forwards to a keosd, or whatever speaks its wallet protocol.
type KeosdSigner struct {
	base    string // scheme and host for the requests
	where   string // for people
	client  *http.Client
	timeout time.Duration
	names   []string
}

// NewKeosdSigner asks the keosd at address (http://host:port or unix:///path.sock) which keys its unlocked wallets hold.
// timeout bounds each later request; 0 means 500 ms. A wallet that is locked later makes Sign fail, not the gate.
func NewKeosdSigner(ctx context.Context, address string, timeout time.Duration) (*KeosdSigner, error) {
	if timeout <= 0 {
		timeout = 500 * time.Millisecond
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("%w: url %q: %w", ErrKeosd, address, err)
	}
	s := &KeosdSigner{where: address, timeout: timeout}
	// No keep-alive connection: one that died in between would cost a slot (fact 45).
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	switch {
	case u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		s.base = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", u.Path)
		}
	case u.Scheme == "http" && u.Host != "" && (u.Path == "" || u.Path == "/" || u.Path == keosdSignPath):
		s.base = "http://" + u.Host
	default:
		return nil, fmt.Errorf("%w: url %q must be http://host:port or unix:///path.sock", ErrKeosd, address)
	}
	s.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if err := s.call(ctx, keosdKeysPath, nil, &s.names); err != nil {
		return nil, fmt.Errorf("%w (is it running, and is its wallet unlocked?)", err)
	}
	if len(s.names) == 0 {
		return nil, fmt.Errorf("%w: %s: its unlocked wallets hold no key", ErrKeosd, address)
	}
	return s, nil
}

// Keys are the public keys that the keosd reported at the start.
func (s *KeosdSigner) Keys() []string { return append([]string(nil), s.names...) }

// Sign asks the keosd.
func (s *KeosdSigner) Sign(ctx context.Context, digest [32]byte, key string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var signature string
	err := s.call(ctx, keosdSignPath, []string{hex.EncodeToString(digest[:]), key}, &signature)
	return signature, err
}

// call posts and decodes the answer; keosd answers 200 or 201, and errors with the EOSIO error JSON.
func (s *KeosdSigner) call(ctx context.Context, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("%w: %w", ErrKeosd, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKeosd, err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrKeosd, s.where, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, keosdAnswer))
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrKeosd, s.where, err)
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated {
		var e struct {
			Error struct {
				Name, What string
			}
		}
		_ = json.Unmarshal(answer, &e) // anything else has no name
		return fmt.Errorf("%w: %s: status %d %s %s", ErrKeosd, s.where, resp.StatusCode, e.Error.Name, e.Error.What)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%w: %s: its answer is not understood", ErrKeosd, s.where)
	}
	return nil
}
