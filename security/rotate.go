package security

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"roundtable/durable"
)

// A cluster changes its CA in three steps, while any two members can talk all the time: NewCA lets one member believe in a
// new one, and its renewals tell the others; UseCA signs with it; ForgetCAs takes the old one away, member by member, when
// every certificate is of the new one. A running manager follows its files.

// nextCA and lastCA are the keys of the CA that is to come and of the one before.
func (f Files) nextCA() string { return f.CAKey + ".next" }
func (f Files) lastCA() string { return f.CAKey + ".last" }

// LastCA is the file of the key of the CA before, where it is still there; "" otherwise.
func (f Files) LastCA() string {
	if _, err := os.Stat(f.lastCA()); err != nil {
		return ""
	}
	return f.lastCA()
}

// NewCA draws the next CA beside the one that signs, and adds it to those that are believed here. Again, it changes nothing.
func (f Files) NewCA(cluster string, now time.Time) error {
	_, bundle, err := f.ca()
	if err != nil {
		return err
	}
	text, err := keepOrMake(f.nextCA(), func() ([]byte, error) {
		key, err := newKey()
		if err != nil {
			return nil, err
		}
		return keyPEM(key)
	})
	if err != nil {
		return err
	}
	if _, err := LoadCA(bundle, text); err == nil {
		return nil // it is in the bundle
	}
	key, err := parseKey(text)
	if err != nil {
		return fmt.Errorf("security: %s: %w", f.nextCA(), err)
	}
	ca, err := newCA(key, cluster, now)
	if err != nil {
		return err
	}
	return durable.Write(f.CA, append(bundle, ca.Cert()...))
}

// UseCA lets the next CA sign from now on. The key of the one before is kept beside it.
func (f Files) UseCA() error {
	next, err := os.ReadFile(f.nextCA())
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("security: there is no next CA: %s", f.nextCA())
	}
	if err != nil {
		return fmt.Errorf("security: %w", err)
	}
	bundle, err := os.ReadFile(f.CA)
	if err != nil {
		return fmt.Errorf("security: %w", err)
	}
	if _, err := LoadCA(bundle, next); err != nil {
		return err
	}
	last, err := os.ReadFile(f.CAKey)
	if err != nil {
		return fmt.Errorf("security: %w", err)
	}
	if err := durable.Write(f.lastCA(), last); err != nil {
		return err
	}
	if err := os.Rename(f.nextCA(), f.CAKey); err != nil {
		return fmt.Errorf("security: %w", err)
	}
	return durable.Sync(filepath.Dir(f.CAKey))
}

// ForgetCAs believes in no CA any more but the one that signed this member's certificate, and returns the fingerprints of
// those that went. It is refused where the CA that signs here is one of them.
func (f Files) ForgetCAs() (gone []string, err error) {
	m, err := f.read()
	if err != nil {
		return nil, err
	}
	issuer := m.info().Issuer
	i := slices.IndexFunc(m.cas, func(c *x509.Certificate) bool { return Fingerprint(c) == issuer })
	if i < 0 {
		return nil, errors.New("security: the certificate here is of none of the CAs that are believed")
	}
	if ca, _, err := f.ca(); err == nil && Fingerprint(ca.cert) != issuer {
		return nil, errors.New("security: the certificate here is not of the CA that signs here: renew it first")
	} else if err != nil && !errors.Is(err, ErrNoCA) {
		return nil, err
	}
	for _, c := range m.cas {
		if print := Fingerprint(c); print != issuer {
			gone = append(gone, print)
		}
	}
	if len(gone) == 0 {
		return nil, nil
	}
	return gone, durable.Write(f.CA, certPEM(m.cas[i].Raw))
}
