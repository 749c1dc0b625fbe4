package drill

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"roundtable/fsm"
	"roundtable/manager"
	"roundtable/security"
)

// errSandboxOnly is for faults that a manager lets only a sandbox put into it, from within.
var errSandboxOnly = errors.New("drill: a cluster with TLS (--tls) is no sandbox to its managers: no clock can be moved and no disk stalled in it")

// secure is what makes a cluster one with TLS, as an operator has it.
type secure struct {
	ca     *security.CA
	tokens map[string]string // text by role
}

// caAge makes the CA older than its members, as it is in life.
const caAge = 24 * time.Hour

// laySecurity makes the cluster's CA and every member's certificate, and leaves the first tokens with the founder.
func (s *Sandbox) laySecurity() error {
	if !s.opts.Secure {
		return nil
	}
	now := time.Now()
	ca, gossip, err := security.Found(security.InHome(s.Members[0].Home), "sandbox", now.Add(-caAge))
	if err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	s.secure = &secure{ca: ca, tokens: map[string]string{}}
	for _, m := range s.Members {
		m.API = "https://" + m.apiBind()
		if err := ca.Admit(m.Files(), m.ID, []string{m.host, m.front}, gossip, now); err != nil {
			return fmt.Errorf("drill: %w", err)
		}
	}
	var first []fsm.Token
	for _, role := range []string{fsm.RoleRead, fsm.RoleOperate, fsm.RoleAdmin} {
		text, id, hash := security.NewToken()
		s.secure.tokens[role] = text
		first = append(first, fsm.Token{ID: id, Name: role, Role: role, Hash: hash})
	}
	s.http = s.client()
	return manager.KeepTokens(s.Members[0].Home, first)
}

// Files are where a member of a cluster with TLS has its certificates.
func (m *Member) Files() security.Files { return security.InHome(m.Home) }

// CA signs for the members of a cluster with TLS; nil for a plain one.
func (s *Sandbox) CA() *security.CA {
	if s.secure == nil {
		return nil
	}
	return s.secure.ca
}

// Token is the first token of a role, of a cluster with TLS; "" for a plain one.
func (s *Sandbox) Token(role string) string {
	if s.secure == nil {
		return ""
	}
	return s.secure.tokens[role]
}

// Client asks the member's API and node as an operator does: of a cluster with TLS by its CA, with a token that may do
// everything where the request has none of its own.
func (m *Member) Client() *http.Client { return m.client }

// credentials makes a client one of a cluster with TLS.
func (s *Sandbox) credentials(t *http.Transport) http.RoundTripper {
	if s.secure == nil {
		return t
	}
	t.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13}
	t.TLSClientConfig.RootCAs.AppendCertsFromPEM(s.secure.ca.Cert())
	return withToken{s.secure.tokens[fsm.RoleAdmin], t}
}

// withToken shows a token to the managers, and to nobody else.
type withToken struct {
	text string
	*http.Transport
}

// RoundTrip implements http.RoundTripper.
func (w withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "https" && r.Header.Get("Authorization") == "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+w.text)
	}
	return w.Transport.RoundTrip(r)
}

// asked is how an operator's command reaches a member.
func (m *Member) asked() string {
	if strings.HasPrefix(m.API, "https://") {
		return "--home " + m.Home
	}
	return "--server " + m.API
}
