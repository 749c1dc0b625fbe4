package security

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"roundtable/durable"
)

// Files says where a member's files are. CAKey is on the member that founded the cluster, and wherever else the operator
// put it: the members without it ask those.
type Files struct {
	CA    string // certificates of the CAs that are believed; while one CA takes over from another, of both
	CAKey string // may be missing
	Cert  string // this member's certificate, followed by its CA's
	Key   string
	// GossipKey is the same on every member.
	GossipKey string
}

// InHome is where init puts them.
func InHome(home string) Files {
	dir := filepath.Join(home, "tls")
	return Files{CA: filepath.Join(dir, "ca.pem"), CAKey: filepath.Join(dir, "ca.key"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), GossipKey: filepath.Join(dir, "gossip.key")}
}

// next is where a new key waits until the certificate for it is in place.
func (f Files) next() string { return f.Key + ".next" }

// GossipKeySize is what memberlist takes for AES-256.
const GossipKeySize = 32

// NewGossipKey draws the key that gossip is encrypted with, as its file holds it.
func NewGossipKey() []byte {
	b := make([]byte, GossipKeySize)
	_, _ = rand.Read(b) // never fails
	return append([]byte(base64.StdEncoding.EncodeToString(b)), '\n')
}

// ParseGossipKeys reads such a file. Where it has several lines, the key is being changed: what is sent is encrypted with the
// first, and all of them are understood.
func ParseGossipKeys(text []byte) ([][]byte, error) {
	var keys [][]byte
	for _, line := range strings.Fields(string(text)) {
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) != GossipKeySize {
			return nil, fmt.Errorf("security: a gossip key must be %d bytes in base64, on a line of its own", GossipKeySize)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("security: there is no gossip key")
	}
	return keys, nil
}

// material is what a member's files hold: a pair that belongs together, and the CAs that are believed.
type material struct {
	text [3][]byte // of CA, Cert, Key: to see whether anything changed
	pair tls.Certificate
	cas  []*x509.Certificate
	pool *x509.CertPool
}

func (m *material) leaf() *x509.Certificate { return m.pair.Leaf }

// read reads a member's files. A key that waits for the certificate beside it is put in place first: writing both was
// interrupted between the two.
func (f Files) read() (*material, error) {
	m := &material{}
	for i, file := range []string{f.CA, f.Cert, f.Key} {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("security: %w", err)
		}
		m.text[i] = b
	}
	pair, err := tls.X509KeyPair(m.text[1], m.text[2])
	if err != nil {
		if b, missing := os.ReadFile(f.next()); missing == nil {
			if pair, err = tls.X509KeyPair(m.text[1], b); err == nil {
				m.text[2] = b
				if err := os.Rename(f.next(), f.Key); err != nil {
					return nil, fmt.Errorf("security: %w", err)
				}
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("security: %s and %s: %w", f.Cert, f.Key, err)
	}
	m.pair = pair
	return m, m.believe(f.CA)
}

// believe takes the CAs out of the bundle.
func (m *material) believe(name string) (err error) {
	if m.cas, err = ParseCertificates(m.text[0]); err != nil {
		return fmt.Errorf("security: %s: %w", name, err)
	}
	m.pool = x509.NewCertPool()
	for _, c := range m.cas {
		m.pool.AddCert(c)
	}
	return nil
}

// same reports whether the files hold what another look at them found.
func (m *material) same(o *material) bool {
	return slices.EqualFunc(m.text[:], o.text[:], bytes.Equal)
}

// check refuses a certificate that is not this member's, not of the cluster's CA, or not good at this time.
func (m *material) check(member string, now time.Time) error {
	if cn := m.leaf().Subject.CommonName; cn != member {
		return fmt.Errorf("security: the certificate is of member %q, not of %q", cn, member)
	}
	return verify([]*x509.Certificate{m.leaf()}, m.pool, x509.ExtKeyUsageClientAuth, now)
}

// Bounds of what a peer may show: its certificate and a few CAs'.
const (
	maxChain       = 8
	maxCertificate = 8 << 10 // bytes
)

// verify checks a peer's chain, its own certificate first. Nothing between that and a CA that is believed is looked at: our CAs
// sign members and nothing else, and a stranger's certificates could keep us busy.
func verify(chain []*x509.Certificate, pool *x509.CertPool, usage x509.ExtKeyUsage, now time.Time) error {
	if len(chain) > maxChain {
		return fmt.Errorf("security: a chain of %d certificates, at most %d are looked at", len(chain), maxChain)
	}
	leaf := chain[0]
	if _, ok := p256(leaf.PublicKey); !ok || len(leaf.Raw) > maxCertificate {
		return fmt.Errorf("security: no member's certificate: %d bytes, %s; theirs have at most %d and an ECDSA key on P-256", len(leaf.Raw), leaf.PublicKeyAlgorithm, maxCertificate)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: now})
	return err
}

// Issued is what the CA gives a member.
type Issued struct {
	Cert []byte // the chain, as PEM
	CA   []byte // the bundle of CAs to believe, as PEM; empty: as before
}

// Check refuses what was issued where it is not this member's certificate for this key, or not of one of these CAs
// (fingerprints; none: of any CA that came with it).
func (i Issued) Check(key []byte, member string, cas []string, now time.Time) error {
	pair, err := tls.X509KeyPair(i.Cert, key)
	if err != nil {
		return fmt.Errorf("security: what was issued: %w", err)
	}
	m := &material{pair: pair}
	m.text[0] = i.CA
	if err := m.believe("what was issued"); err != nil {
		return err
	}
	if len(cas) > 0 {
		m.pool = x509.NewCertPool()
		for _, c := range m.cas {
			if slices.Contains(cas, Fingerprint(c)) {
				m.pool.AddCert(c)
			}
		}
	}
	return m.check(member, now)
}

// install puts a new key and what was issued for it in place, so that a crash at any point leaves a pair that works.
func (f Files) install(key []byte, issued Issued) error {
	if len(issued.CA) > 0 {
		if err := durable.Write(f.CA, issued.CA); err != nil {
			return err
		}
	}
	if err := durable.Write(f.next(), key); err != nil {
		return err
	}
	if err := durable.Write(f.Cert, issued.Cert); err != nil {
		return err
	}
	if err := os.Rename(f.next(), f.Key); err != nil && !errors.Is(err, fs.ErrNotExist) { // read has put it in place already
		return fmt.Errorf("security: %w", err)
	}
	return durable.Sync(filepath.Dir(f.Key))
}

// lock keeps two processes from renewing at once: a running manager and an operator's command.
func (f Files) lock() (unlock func(), err error) {
	dir, err := os.Open(filepath.Dir(f.Key))
	if err != nil {
		return nil, fmt.Errorf("security: %w", err)
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		dir.Close()
		return nil, fmt.Errorf("security: the certificate in %s is being renewed by another process: %w", filepath.Dir(f.Key), err)
	}
	return func() { dir.Close() }, nil
}

// ca loads the CA with its key, and the bundle of those that are believed.
func (f Files) ca() (ca *CA, bundle []byte, err error) {
	key, err := os.ReadFile(f.CAKey)
	if errors.Is(err, fs.ErrNotExist) || f.CAKey == "" {
		return nil, nil, ErrNoCA
	}
	if err != nil {
		return nil, nil, fmt.Errorf("security: %w", err)
	}
	if bundle, err = os.ReadFile(f.CA); err != nil {
		return nil, nil, fmt.Errorf("security: %w", err)
	}
	ca, err = LoadCA(bundle, key)
	return ca, bundle, err
}
