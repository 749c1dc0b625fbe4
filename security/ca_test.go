package security

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// leaf is the first certificate of a chain.
func leaf(t testing.TB, chain []byte) *x509.Certificate {
	t.Helper()
	return must(ParseCertificates(chain))(t)[0]
}

// requestOf is the PEM of a request made from a template.
func requestOf(t testing.TB, template *x509.CertificateRequest, key any) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: csrBlock, Bytes: must(x509.CreateCertificateRequest(rand.Reader, template, key))(t)})
}

func TestMemberCertificate(t *testing.T) {
	now := time.Now()
	ca := must(NewCA("prod", now))(t)
	_, request, err := NewRequest("m1", []string{"bp1.example", "10.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	chain := must(ca.Sign(request, "m1", MemberLife, now))(t)
	c := leaf(t, chain)
	if c.Subject.CommonName != "m1" || !c.NotAfter.Equal(now.Add(MemberLife).Truncate(time.Second)) || c.IsCA {
		t.Errorf("%s until %s, CA %v", c.Subject, c.NotAfter, c.IsCA)
	}
	if want := []string{"m1", "localhost", "bp1.example"}; !slices.Equal(c.DNSNames, want) {
		t.Errorf("names %q, not %q", c.DNSNames, want)
	}
	if got, want := fmt.Sprint(c.IPAddresses), "[127.0.0.1 ::1 10.0.0.1]"; got != want {
		t.Errorf("addresses %s, not %s", got, want)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.Cert())
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		if _, err := c.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			t.Errorf("usage %d: %v", usage, err)
		}
	}
	if certs := must(ParseCertificates(chain))(t); len(certs) != 2 || Fingerprint(certs[1]) != Fingerprint(leaf(t, ca.Cert())) {
		t.Error("the CA's certificate is not in the chain")
	}
	if end := leaf(t, must(ca.Sign(request, "m1", 100*365*24*time.Hour, now))(t)).NotAfter; end.After(leaf(t, ca.Cert()).NotAfter) {
		t.Errorf("it outlives its CA: %s", end)
	}
}

// TestSignerDecides: of a request nothing but key and hosts is believed.
func TestSignerDecides(t *testing.T) {
	now := time.Now()
	ca := must(NewCA("prod", now))(t)
	key := must(newKey())(t)
	link := must(url.Parse("spiffe://prod/m1"))(t)
	request := requestOf(t, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "m1", Organization: []string{"admins"}}, DNSNames: []string{"h"}, EmailAddresses: []string{"a@b"}, URIs: []*url.URL{link},
		ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 0x03, 0x01, 0x01, 0xff}}}, // basic constraints: a CA
	}, key)
	c := leaf(t, must(ca.Sign(request, "m2", MemberLife, now))(t))
	if c.Subject.CommonName != "m2" || len(c.Subject.Organization) > 0 || c.IsCA || len(c.EmailAddresses)+len(c.URIs) > 0 || slices.Contains(c.DNSNames, "m1") {
		t.Errorf("%s, names %q, CA %v, %v %v", c.Subject, c.DNSNames, c.IsCA, c.EmailAddresses, c.URIs)
	}
	if c.KeyUsage != x509.KeyUsageDigitalSignature || len(c.ExtKeyUsage) != 2 {
		t.Errorf("usages %v %v", c.KeyUsage, c.ExtKeyUsage)
	}
}

func TestRefusedRequests(t *testing.T) {
	now := time.Now()
	ca := must(NewCA("prod", now))(t)
	key := must(newKey())(t)
	with := func(change func(*x509.CertificateRequest)) []byte {
		r := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "m1"}}
		change(r)
		return requestOf(t, r, key)
	}
	good := with(func(*x509.CertificateRequest) {})
	forged := []byte(strings.Replace(string(good), string(good[60:64]), "AAAA", 1))
	many := func(r *x509.CertificateRequest) {
		for i := range maxHosts + 1 {
			r.DNSNames = append(r.DNSNames, fmt.Sprintf("h%d", i))
		}
	}
	for name, request := range map[string][]byte{
		"nothing":       nil,
		"no PEM":        []byte("x"),
		"a certificate": ca.Cert(),
		"too large":     append(slices.Clone(good), make([]byte, maxRequest)...),
		"forged":        forged,
		"wildcard":      with(func(r *x509.CertificateRequest) { r.DNSNames = []string{"*.example"} }),
		"a blank":       with(func(r *x509.CertificateRequest) { r.DNSNames = []string{"a b"} }),
		"every address": with(func(r *x509.CertificateRequest) { r.IPAddresses = []net.IP{net.IPv4zero} }),
		"many hosts":    with(many),
		"RSA":           requestOf(t, &x509.CertificateRequest{}, must(rsa.GenerateKey(rand.Reader, 2048))(t)),
		"P-384":         requestOf(t, &x509.CertificateRequest{}, must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))(t)),
	} {
		if _, err := ca.Sign(request, "m1", MemberLife, now); !errors.Is(err, ErrRequest) {
			t.Errorf("%s is signed: %v", name, err)
		}
		if _, err := CheckRequest(request); !errors.Is(err, ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ca.Sign(good, "m1", MemberLife, now); err != nil {
		t.Errorf("the good one: %v", err)
	}

	// A signature by a key that is refused is not checked: one of a large RSA key would keep us busy for long.
	der, _ := pem.Decode(requestOf(t, &x509.CertificateRequest{}, must(rsa.GenerateKey(rand.Reader, 2048))(t)))
	der.Bytes[len(der.Bytes)-1] ^= 1
	if _, err := CheckRequest(pem.EncodeToMemory(der)); err == nil || !strings.Contains(err.Error(), "P-256") {
		t.Errorf("RSA, forged: %v", err)
	}
}

func TestHosts(t *testing.T) {
	for _, good := range []string{"m1", "bp-1.example.com", "under_score", "10.0.0.1", "::1", "a"} {
		if err := CheckHost(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "*", "*.example", "a..b", ".a", "a.", "-a", "a-", "a b", "a/b", "a:80", "10.0.0", "10.0.0.999", "0.0.0.0", "::", "224.0.0.1", strings.Repeat("a", 64), strings.Repeat("a.", 130) + "b", "ä"} {
		if CheckHost(bad) == nil {
			t.Errorf("%q is taken for a host", bad)
		}
	}
	if _, _, err := NewRequest("m1", []string{"*"}); err == nil {
		t.Error("a wildcard is asked for")
	}
}

func TestLoadCA(t *testing.T) {
	now := time.Now()
	old, young := must(NewCA("prod", now))(t), must(NewCA("prod", now))(t)
	bundle := append(old.Cert(), young.Cert()...)
	for _, want := range []*CA{old, young} {
		got := must(LoadCA(bundle, must(want.Key())(t)))(t)
		if !got.cert.Equal(want.cert) {
			t.Error("the wrong one of two CAs")
		}
	}
	key := must(young.Key())(t)
	for name, in := range map[string][2][]byte{
		"of another CA":  {old.Cert(), key},
		"no key":         {old.Cert(), old.Cert()},
		"no certificate": {nil, key},
		"the other way":  {key, old.Cert()},
		"damaged":        {young.Cert(), []byte(strings.Replace(string(key), string(key[40:48]), "AAAAAAAA", 1))},
	} {
		if _, err := LoadCA(in[0], in[1]); err == nil || strings.Contains(err.Error(), string(key[60:80])) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCheckRequest(f *testing.F) {
	_, request, err := NewRequest("m1", []string{"h", "10.0.0.1"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(request)
	f.Fuzz(func(t *testing.T, text []byte) {
		hosts, err := CheckRequest(text)
		if err == nil && len(hosts) > maxHosts {
			t.Error(hosts)
		}
	})
}

// TestIssuedIsChecked is what somebody who joins looks at before anything is written.
func TestIssuedIsChecked(t *testing.T) {
	now := time.Now()
	ca, foreign := must(NewCA("prod", now))(t), must(NewCA("prod", now))(t)
	key, request, err := NewRequest("m1", nil)
	if err != nil {
		t.Fatal(err)
	}
	again := must(RequestFor(key, "m1", []string{"h"}))(t)
	if hosts, err := CheckRequest(again); err != nil || !slices.Equal(hosts, []string{"h"}) {
		t.Errorf("a request for a key that is there: %q %v", hosts, err)
	}
	other, _, err := NewRequest("m1", nil)
	if err != nil {
		t.Fatal(err)
	}
	known := []string{Fingerprint(ca.cert)}
	good := Issued{Cert: must(ca.Sign(request, "m1", MemberLife, now))(t), CA: append(foreign.Cert(), ca.Cert()...)}
	for name, tc := range map[string]struct {
		i      Issued
		key    []byte
		member string
		cas    []string
		ok     bool
	}{
		"good":             {good, key, "m1", known, true},
		"any CA":           {good, key, "m1", nil, true},
		"another key":      {good, other, "m1", known, false},
		"another member":   {good, key, "m2", known, false},
		"another CA":       {good, key, "m1", []string{Fingerprint(foreign.cert)}, false},
		"of a foreign CA":  {Issued{must(foreign.Sign(request, "m1", MemberLife, now))(t), good.CA}, key, "m1", known, false},
		"without its CA":   {Issued{good.Cert, foreign.Cert()}, key, "m1", known, false},
		"without any CA":   {Issued{good.Cert, nil}, key, "m1", known, false},
		"no certificate":   {Issued{nil, good.CA}, key, "m1", known, false},
		"key in the place": {Issued{key, good.CA}, key, "m1", known, false},
	} {
		if err := tc.i.Check(tc.key, tc.member, tc.cas, now); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPredates tells a member's certificates from those that another machine has under the same id.
func TestPredates(t *testing.T) {
	now := time.Now()
	ca := must(NewCA("prod", now.Add(-time.Hour)))(t)
	_, request, err := NewRequest("m1", nil)
	if err != nil {
		t.Fatal(err)
	}
	for age, want := range map[time.Duration]bool{0: false, time.Second: false, 30 * time.Second: false, 2 * time.Minute: true, time.Hour / 2: true, -time.Hour: false} {
		c := leaf(t, must(ca.Sign(request, "m1", MemberLife, now.Add(-age)))(t))
		if got := Predates(c, now.UnixMilli()); got != want {
			t.Errorf("made %v before: %v", age, got)
		}
		if Predates(c, 0) {
			t.Error("without an invite")
		}
	}
}
