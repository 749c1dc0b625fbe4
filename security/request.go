package security

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
)

const (
	maxRequest = 16 << 10 // bytes of PEM
	maxHosts   = 8        // in one request
	maxHost    = 253      // characters
	maxLabel   = 63
)

// ErrRequest is returned for a certificate request that nobody should sign.
var ErrRequest = errors.New("security: the certificate request is refused")

// NewRequest draws a key and writes the request for a certificate that is good for the hosts, both as PEM.
func NewRequest(member string, hosts []string) (key, request []byte, err error) {
	private, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	if key, err = keyPEM(private); err != nil {
		return nil, nil, err
	}
	request, err = RequestFor(key, member, hosts)
	return key, request, err
}

// RequestFor writes the request for a key that is there already.
func RequestFor(key []byte, member string, hosts []string) ([]byte, error) {
	for _, h := range hosts {
		if err := CheckHost(h); err != nil {
			return nil, err
		}
	}
	private, err := parseKey(key)
	if err != nil {
		return nil, fmt.Errorf("security: the member's key: %w", err)
	}
	names, addresses := splitHosts(hosts)
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: member}, DNSNames: names, IPAddresses: addresses}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, private)
	if err != nil {
		return nil, fmt.Errorf("security: request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: csrBlock, Bytes: der}), nil
}

// request is what is believed of a certificate request.
type request struct {
	key   *ecdsa.PublicKey
	hosts []string
}

// CheckRequest refuses a certificate request that Sign would refuse, and tells the hosts it asks for. An invite must not be
// used up by a request that comes to nothing.
func CheckRequest(text []byte) (hosts []string, err error) {
	r, err := parseRequest(text)
	return r.hosts, err
}

func parseRequest(text []byte) (request, error) {
	if len(text) > maxRequest {
		return request{}, fmt.Errorf("%w: it has more than %d bytes", ErrRequest, maxRequest)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != csrBlock {
		return request{}, fmt.Errorf("%w: it is no PEM of a %s", ErrRequest, strings.ToLower(csrBlock))
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return request{}, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	key, ok := p256(csr.PublicKey) // first: a large RSA key would keep us busy with its signature
	if !ok {
		return request{}, fmt.Errorf("%w: the key must be an ECDSA key on P-256", ErrRequest)
	}
	if err := csr.CheckSignature(); err != nil { // who asks has the key
		return request{}, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	r := request{key: key}
	r.hosts = append(r.hosts, csr.DNSNames...)
	for _, ip := range csr.IPAddresses {
		r.hosts = append(r.hosts, ip.String())
	}
	if len(r.hosts) > maxHosts {
		return request{}, fmt.Errorf("%w: it asks for %d hosts, at most %d are given", ErrRequest, len(r.hosts), maxHosts)
	}
	for _, h := range r.hosts {
		if err := CheckHost(h); err != nil {
			return request{}, fmt.Errorf("%w: %w", ErrRequest, err)
		}
	}
	return r, nil
}

// p256 is the only kind of key that members have.
func p256(key any) (*ecdsa.PublicKey, bool) {
	k, ok := key.(*ecdsa.PublicKey)
	return k, ok && k.Curve == elliptic.P256()
}

// CheckHost refuses what is no host that a certificate should be good for: a wildcard, an address that means every host,
// anything that is neither a name nor an address.
func CheckHost(host string) error {
	if ip := net.ParseIP(host); ip != nil {
		if ip.IsUnspecified() || ip.IsMulticast() {
			return fmt.Errorf("security: %s is no one host's address", host)
		}
		return nil
	}
	labels := strings.Split(host, ".")
	bad := len(host) > maxHost
	for _, l := range labels {
		bad = bad || l == "" || len(l) > maxLabel || l[0] == '-' || l[len(l)-1] == '-' || strings.Trim(l, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != ""
	}
	last := labels[len(labels)-1]
	if bad || strings.Trim(last, "0123456789") == "" { // a name that ends in a number is a mistyped address
		return fmt.Errorf("security: %q is no host", host)
	}
	return nil
}
