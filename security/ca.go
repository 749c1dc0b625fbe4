package security

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"
)

// CA signs the members' certificates. Every cluster has its own, and believes nobody else.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

const (
	caLife = 20 * 365 * 24 * time.Hour
	// MemberLife is how long a member's certificate is good for; a running manager renews it when a third is left.
	MemberLife = 90 * 24 * time.Hour
	// backdated covers clocks that are behind the signer's.
	backdated = 5 * time.Minute
	// disagreement is how far the clocks of two signers may be apart.
	disagreement = time.Minute
)

// ErrNoCA is returned where this member does not have the CA's key.
var ErrNoCA = errors.New("security: the key of the cluster's CA is not here")

// NewCA draws the CA of a cluster.
func NewCA(cluster string, now time.Time) (*CA, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	return newCA(key, cluster, now)
}

func newCA(key *ecdsa.PrivateKey, cluster string, now time.Time) (*CA, error) {
	serial := newSerial()
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: now.Add(-backdated), NotAfter: now.Add(caLife),
		// An old CA and its successor stand side by side for a while: their names differ by the serial number.
		Subject: pkix.Name{CommonName: "roundtable " + cluster, SerialNumber: hex.EncodeToString(serial.Bytes()[:4])},
		IsCA:    true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("security: CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("security: CA: %w", err)
	}
	return &CA{cert, key}, nil
}

// LoadCA takes the certificate that the key belongs to out of a bundle, which may hold the certificates of several CAs.
func LoadCA(bundlePEM, keyPEM []byte) (*CA, error) {
	certs, err := ParseCertificates(bundlePEM)
	if err != nil {
		return nil, fmt.Errorf("security: CA: %w", err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("security: the CA's key: %w", err)
	}
	for _, c := range certs {
		if key.PublicKey.Equal(c.PublicKey) && c.IsCA {
			return &CA{c, key}, nil
		}
	}
	return nil, errors.New("security: the CA's key belongs to none of the CA certificates beside it")
}

// Cert is the CA's certificate, as PEM.
func (c *CA) Cert() []byte { return certPEM(c.cert.Raw) }

// Key is the CA's key, as PEM. Whoever has it can make members.
func (c *CA) Key() ([]byte, error) { return keyPEM(c.key) }

// Fingerprint is the SHA-256 of a certificate in lower-case hex, as `openssl x509 -fingerprint -sha256` has it.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// Sign makes a member's certificate from its request (NewRequest), for so long or until the CA itself ends. Of the request
// only the key and the hosts count: the member's name, and what the certificate is good for, are the caller's word and ours.
// The answer is the chain as PEM, with the CA's certificate in it: a member that joins knows the CA by its fingerprint
// alone and must see it in the handshake.
func (c *CA) Sign(request []byte, member string, life time.Duration, now time.Time) ([]byte, error) {
	r, err := parseRequest(request)
	if err != nil {
		return nil, err
	}
	names, addresses := splitHosts(append([]string{member, "localhost", "127.0.0.1", "::1"}, r.hosts...))
	template := &x509.Certificate{
		SerialNumber: newSerial(), NotBefore: now.Add(-backdated), NotAfter: now.Add(life),
		Subject: pkix.Name{CommonName: member}, DNSNames: names, IPAddresses: addresses,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if template.NotAfter.After(c.cert.NotAfter) {
		template.NotAfter = c.cert.NotAfter
	}
	if template.NotBefore.Before(c.cert.NotBefore) {
		template.NotBefore = c.cert.NotBefore
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, r.key, c.key)
	if err != nil {
		return nil, fmt.Errorf("security: sign for %s: %w", member, err)
	}
	return append(certPEM(der), c.Cert()...), nil
}

// newSerial draws a positive number of 127 random bits whose highest byte is never 0.
func newSerial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b)
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("security: %w", err)
	}
	return key, nil
}

const (
	certBlock = "CERTIFICATE"
	keyBlock  = "PRIVATE KEY"
	csrBlock  = "CERTIFICATE REQUEST"
)

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certBlock, Bytes: der})
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("security: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), nil
}

// ParseCertificates reads every certificate of a PEM file; there must be one at least.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != certBlock {
			return nil, fmt.Errorf("a %s stands where only certificates belong", strings.ToLower(block.Type))
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, errors.New("it holds no certificate (PEM)")
	}
	return list, nil
}

// parseKey reads a private key as we write it, or as openssl ecparam does.
func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		var key crypto.PrivateKey
		var err error
		switch block.Type {
		case keyBlock:
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		default:
			continue
		}
		if err != nil {
			return nil, errors.New("it is damaged") // the cause might quote it
		}
		if ec, ok := key.(*ecdsa.PrivateKey); ok && ec.Curve == elliptic.P256() {
			return ec, nil
		}
		return nil, errors.New("it is not an ECDSA key on P-256")
	}
	return nil, errors.New("it holds no private key (PEM)")
}

// splitHosts sorts hosts into names and addresses, each once. A member's id that is no host name is left out: it stands in
// the common name, which is what members go by.
func splitHosts(hosts []string) (names []string, addresses []net.IP) {
	seen := map[string]bool{}
	for _, h := range hosts {
		if seen[h] || CheckHost(h) != nil {
			continue
		}
		seen[h] = true
		if ip := net.ParseIP(h); ip != nil {
			addresses = append(addresses, ip)
		} else {
			names = append(names, h)
		}
	}
	return names, addresses
}
