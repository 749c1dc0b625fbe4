package security

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// TestStrangersChains: of what a stranger shows nothing is verified but a member's certificate by a CA that is believed. A chain
// of certificates with large RSA keys would keep a member busy for seconds.
func TestStrangersChains(t *testing.T) {
	now := time.Now()
	template := func(name string, ca bool) *x509.Certificate {
		c := &x509.Certificate{
			SerialNumber: newSerial(), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
			BasicConstraintsValid: true, IsCA: ca, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		if ca {
			c.KeyUsage = x509.KeyUsageCertSign
		}
		return c
	}
	sign := func(what, by *x509.Certificate, key any, with *ecdsa.PrivateKey) *x509.Certificate {
		der := must(x509.CreateCertificate(rand.Reader, what, by, key, with))(t)
		return must(x509.ParseCertificate(der))(t)
	}
	key, other, p384 := must(newKey())(t), must(newKey())(t), must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))(t)
	root := template("root", true) // unlike ours, it lets others sign
	root = sign(root, root, key.Public(), key)
	pool := x509.NewCertPool()
	pool.AddCert(root)
	between := sign(template("between", true), root, other.Public(), key)
	large := template("m2", false)
	for i := range 200 {
		large.DNSNames = append(large.DNSNames, fmt.Sprintf("%d.%s.example", i, strings.Repeat("x", 60)))
	}
	member := sign(template("m2", false), root, other.Public(), key)
	modulus := new(big.Int).SetBit(big.NewInt(1), 2048, 1) // no key that anybody could sign with
	for name, tc := range map[string]struct {
		chain []*x509.Certificate
		want  string // in the error; "": it is taken
	}{
		"a member":          {[]*x509.Certificate{member}, ""},
		"with its CA":       {[]*x509.Certificate{member, root}, ""},
		"signed in between": {[]*x509.Certificate{sign(template("m2", false), between, other.Public(), other), between, root}, "unknown authority"},
		"a long chain":      {append([]*x509.Certificate{member}, make([]*x509.Certificate, maxChain)...), "a chain of 9"},
		"RSA":               {[]*x509.Certificate{sign(template("m2", false), root, &rsa.PublicKey{N: modulus, E: 65537}, key)}, "P-256"},
		"P-384":             {[]*x509.Certificate{sign(template("m2", false), root, p384.Public(), key)}, "P-256"},
		"a large one":       {[]*x509.Certificate{sign(large, root, other.Public(), key)}, "at most 8192"},
	} {
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
			if err := verify(tc.chain, pool, usage, now); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: %v, want %q", name, err, tc.want)
			}
		}
	}

	// The same over real handshakes, where a certificate between is the dialer's own.
	f := InHome(t.TempDir())
	ca := must(NewCA("t", now))(t)
	issue(t, f, ca, "m1", MemberLife)
	k := must(Open(Config{Files: f, Member: "m1"}))(t)
	pair := k.loaded.Load().pair
	for range maxChain {
		pair.Certificate = append(pair.Certificate, between.Raw)
	}
	conf := k.Client("m1")
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	for side, server := range map[string]*tls.Config{"raft": k.Server(), "API": k.API(func(string) {})} {
		if _, err := dial(t, echo(t, server), conf); err == nil {
			t.Errorf("%s takes a long chain", side)
		}
	}
	if n := k.Refused()[ReasonOther]; n != 1 {
		t.Errorf("raft counted %d", n)
	}
}
