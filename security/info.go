package security

import (
	"crypto/x509"
	"fmt"
	"time"
)

// Info is what a certificate says, for people and metrics.
type Info struct {
	Member    string
	Hosts     []string // it is good for
	Serial    string
	NotBefore time.Time
	NotAfter  time.Time
	Issuer    string // fingerprint of the CA that signed it; "" where that one is not believed
	CAs       []Root // that are believed
}

// Root is a CA that is believed.
type Root struct {
	Name        string
	Fingerprint string
	NotAfter    time.Time
}

// RenewAt is when a running manager renews the certificate, give or take.
func (i Info) RenewAt() time.Time { return i.NotAfter.Add(-i.NotAfter.Sub(i.NotBefore) / renewShare) }

// Inspect tells what a member's files hold, and what is wrong with it, if anything.
func Inspect(f Files, member string, now time.Time) (info Info, problem, err error) {
	m, err := f.read()
	if err != nil {
		return Info{}, nil, err
	}
	return m.info(), m.check(member, now), nil
}

func (m *material) info() Info {
	c := m.leaf()
	i := Info{Member: c.Subject.CommonName, Serial: fmt.Sprintf("%x", c.SerialNumber), NotBefore: c.NotBefore, NotAfter: c.NotAfter, Hosts: hostsOf(c)}
	for _, ca := range m.cas {
		i.CAs = append(i.CAs, Root{ca.Subject.CommonName, Fingerprint(ca), ca.NotAfter})
		if c.CheckSignatureFrom(ca) == nil {
			i.Issuer = Fingerprint(ca)
		}
	}
	return i
}

func hostsOf(c *x509.Certificate) []string {
	list := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		list = append(list, ip.String())
	}
	return list
}
