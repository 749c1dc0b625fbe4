package manager

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"roundtable/api"
	"roundtable/cmd/roundtable/config"
	"roundtable/logkey"
	"roundtable/security"
)

// openSecurity reads the certificates and the gossip key; nothing on a plain loopback cluster.
func (m *manager) openSecurity() error {
	c := m.cfg
	if c.Plain() {
		return nil
	}
	text, err := os.ReadFile(c.TLS.GossipKey)
	if err != nil {
		return fmt.Errorf("manager: tls.gossip_key: %w", err)
	}
	if m.gossipKeys, err = security.ParseGossipKeys(text); err != nil {
		return fmt.Errorf("manager: tls.gossip_key: %w", err)
	}
	m.keeper, err = security.Open(security.Config{
		Files: Files(c), Member: c.Manager.ID, Hosts: c.Hosts(), Renew: c.TLS.Renew, Ask: m.askCertificate,
		Now: m.opts.Now, Log: m.log.With(logkey.Part, "tls"),
	})
	if err != nil {
		return fmt.Errorf("manager: tls: %w (hint: look at it with: roundtable certificate show)", err)
	}
	return nil
}

// Files are where a configuration has a member's certificates.
func Files(c *config.Config) security.Files {
	return security.Files{CA: c.TLS.CA, CAKey: c.TLS.CAKey, Cert: c.TLS.Cert, Key: c.TLS.Key, GossipKey: c.TLS.GossipKey}
}

// certificate is when this member's ends, and what is wrong with it.
func (m *manager) certificate() (ends time.Time, problem string) {
	s := m.keeper.Status()
	return s.NotAfter, s.Problem
}

// secure makes the API's two sides: a listener that verifies the certificate of who shows one, and a client for the other
// members' APIs that knows each by its id.
func (m *manager) secure(listener net.Listener, refused func(reason string)) net.Listener {
	if m.keeper == nil {
		return listener
	}
	return tls.NewListener(listener, m.keeper.API(refused))
}

// client asks the other members' APIs.
func (m *manager) client() *http.Client {
	if m.keeper == nil {
		return &http.Client{Transport: &http.Transport{IdleConnTimeout: time.Minute}}
	}
	return &http.Client{Transport: m.keeper.Transport(m.memberAt)}
}

// memberAt tells which member's API is at an address.
func (m *manager) memberAt(address string) (member string, ok bool) {
	state, _ := m.cluster.View()
	for id, record := range state.Members {
		if u, err := url.Parse(record.API); err == nil && u.Host == address {
			return id, true
		}
	}
	return "", false
}

// askWait is how long one member may take to sign.
const askWait = 5 * time.Second

// askCertificate has another member sign a request: one that has the CA's key.
func (m *manager) askCertificate(ctx context.Context, request []byte) (security.Issued, error) {
	state, _ := m.cluster.View()
	client := m.client()
	defer client.CloseIdleConnections()
	err := errors.New("there is no other member")
	for _, id := range state.MemberIDs() {
		if id == m.cfg.Manager.ID {
			continue
		}
		var c api.Certificate
		one, cancel := context.WithTimeout(ctx, askWait)
		failed := api.AskMember(one, client, state.Members[id].API, "/cluster/certificate", api.CertificateRequest{CSR: string(request)}, &c)
		cancel()
		if failed == nil {
			return security.Issued{Cert: []byte(c.Certificate), CA: []byte(c.CA)}, nil
		}
		err = errors.Join(err, fmt.Errorf("%s: %w", id, failed))
	}
	return security.Issued{}, fmt.Errorf("manager: nobody signed a new certificate: %w", err)
}

// flock takes the file's lock without waiting.
func flock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
