package test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/fsm"
	"roundtable/manager"
	"roundtable/security"
)

// secured is a cluster as an operator has it: TLS, certificates of one CA, tokens. It is no sandbox, only laid out by one.
type secured struct {
	*box
	roots  *x509.CertPool
	tokens map[api.Role]string
	ended  string // a token that has expired
}

// layOutSecured makes its homes; start starts it.
func layOutSecured(t *testing.T, o drill.Options) *secured {
	t.Helper()
	o.Secure = true
	s := &secured{box: layOut(t, o), roots: x509.NewCertPool(), tokens: map[api.Role]string{}}
	s.roots.AppendCertsFromPEM(s.CA().Cert())
	var seeds []fsm.Token
	seed := func(name, text string, expires int64) {
		id, err := security.ParseToken(text)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, fsm.Token{ID: id, Name: name, Role: name, Hash: security.HashToken(text), Expires: expires})
	}
	for _, role := range []api.Role{api.Read, api.Operate, api.Admin} {
		s.tokens[role] = s.Token(string(role))
		seed(string(role), s.tokens[role], 0)
	}
	s.ended, _, _ = security.NewToken()
	seed(fsm.RoleAdmin, s.ended, time.Now().Add(-time.Hour).UnixMilli())
	if err := manager.KeepTokens(s.Members[0].Home, seeds); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for name, text := range map[string]string{"read": s.tokens[api.Read], "operate": s.tokens[api.Operate], "admin": s.tokens[api.Admin], "ended": s.ended} {
			if found := grep(t, s.Dir, text); len(found) > 0 {
				t.Errorf("the token %q stands in %v", name, found)
			}
		}
	})
	return s
}

// start starts it and waits until production runs and every member knows the tokens.
func (s *secured) start() {
	s.t.Helper()
	if err := s.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.settle()
	eventually(s.t, time.Minute, "the tokens and votes known to everybody", func(ctx context.Context) error {
		for _, m := range s.Members {
			var tokens []api.Token
			if err := s.get(ctx, m, "/cluster/tokens", &tokens); err != nil || len(tokens) != len(s.tokens)+1 {
				return fmt.Errorf("%s knows the tokens %v: %w", m.ID, tokens, err)
			}
			var members []api.Member
			if err := s.get(ctx, m, "/cluster/members", &members); err != nil {
				return err
			}
			for _, v := range members {
				if v.Suffrage != "voter" {
					return fmt.Errorf("%s says: %s is %s", m.ID, v.ID, v.Suffrage)
				}
			}
		}
		return nil
	})
}

// get asks a member over its own socket and decodes a good answer into v.
func (s *secured) get(ctx context.Context, m *drill.Member, path string, v any) error {
	text, err := s.local(ctx, m, http.MethodGet, path, "")
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

// local asks a member over its own socket, which needs no token.
func (s *secured) local(ctx context.Context, m *drill.Member, method, path, body string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(m.Home, "api.sock"))
	}}}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+m.ID+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s of %s: %d: %s", method, path, m.ID, resp.StatusCode, text)
	}
	return text, err
}

// dial opens a TLS connection to a member's API from a loopback address of one's own: each is another client.
func (s *secured) dial(m *drill.Member, from net.IP) (*tls.Conn, error) {
	d := &net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: from}}
	return tls.DialWithDialer(d, "tcp", strings.TrimPrefix(m.API, "https://"), &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS13})
}

// secrets are what no answer and no log may hold: name and text.
func (s *secured) secrets() map[string]string {
	s.t.Helper()
	found := map[string]string{"read token": s.tokens[api.Read], "operate token": s.tokens[api.Operate], "admin token": s.tokens[api.Admin], "ended token": s.ended}
	files := map[string]string{"producer's key": s.keyFile()}
	for _, m := range s.Members {
		f := security.InHome(m.Home)
		files[m.ID+"'s key"], files["gossip key"] = f.Key, f.GossipKey
	}
	files["CA's key"] = security.InHome(s.Members[0].Home).CAKey
	for name, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			s.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); len(line) > 20 && !strings.HasPrefix(line, "-----") {
				found[name+" "+line[:4]] = line
			}
		}
	}
	return found
}
