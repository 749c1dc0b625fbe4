package security

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"roundtable/durable"
)

// Found makes a cluster's CA and gossip key in its first member's home, and Admit a member's files, signed by that CA. Both
// replace nothing: what is there from a try that was interrupted is used, and what does not fit is an error.

// Found gives the CA and the file of the gossip key.
func Found(f Files, cluster string, now time.Time) (ca *CA, gossipKey []byte, err error) {
	if ca, err = f.found(cluster, now); err != nil {
		return nil, nil, err
	}
	gossipKey, err = keepOrMake(f.GossipKey, func() ([]byte, error) { return NewGossipKey(), nil })
	if err != nil {
		return nil, nil, err
	}
	if _, err := ParseGossipKeys(gossipKey); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.GossipKey, err)
	}
	return ca, gossipKey, nil
}

func (f Files) found(cluster string, now time.Time) (*CA, error) {
	if _, err := os.Stat(f.CA); err == nil {
		ca, _, err := f.ca()
		if errors.Is(err, ErrNoCA) {
			return nil, fmt.Errorf("%w: %s is there without it", ErrNoCA, f.CA)
		}
		return ca, err
	}
	keyText, err := keepOrMake(f.CAKey, func() ([]byte, error) {
		key, err := newKey()
		if err != nil {
			return nil, err
		}
		return keyPEM(key)
	})
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyText)
	if err != nil {
		return nil, fmt.Errorf("security: %s: %w", f.CAKey, err)
	}
	ca, err := newCA(key, cluster, now)
	if err != nil {
		return nil, err
	}
	return ca, durable.Create(f.CA, ca.Cert())
}

// Admit makes a member's key and certificate, good for the hosts, and writes the CA and the gossip key beside them.
func (c *CA) Admit(f Files, member string, hosts []string, gossipKey []byte, now time.Time) error {
	key, err := f.MemberKey()
	if err != nil {
		return err
	}
	cert, err := keepOrMake(f.Cert, func() ([]byte, error) {
		request, err := RequestFor(key, member, hosts)
		if err != nil {
			return nil, err
		}
		return c.Sign(request, member, MemberLife, now)
	})
	if err != nil {
		return err
	}
	if err := (Issued{Cert: cert, CA: c.Cert()}).Check(key, member, nil, now); err != nil {
		return fmt.Errorf("%s: %w", f.Cert, err)
	}
	if _, err := keepOrMake(f.CA, func() ([]byte, error) { return c.Cert(), nil }); err != nil {
		return err
	}
	_, err = keepOrMake(f.GossipKey, func() ([]byte, error) { return gossipKey, nil })
	return err
}

// MemberKey is the member's key; it is drawn where there is none.
func (f Files) MemberKey() ([]byte, error) {
	return keepOrMake(f.Key, func() ([]byte, error) {
		key, err := newKey()
		if err != nil {
			return nil, err
		}
		return keyPEM(key)
	})
}

// Put writes what was issued to a member that joins. Files that are there from another try are replaced: they came to
// nothing.
func (f Files) Put(issued Issued, gossipKey []byte) error {
	return errors.Join(durable.Write(f.CA, issued.CA), durable.Write(f.GossipKey, gossipKey), durable.Write(f.Cert, issued.Cert))
}

// keepOrMake reads a file, or makes it.
func keepOrMake(file string, make func() ([]byte, error)) ([]byte, error) {
	switch b, err := os.ReadFile(file); {
	case err == nil:
		return b, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("security: %w", err)
	}
	b, err := make()
	if err != nil {
		return nil, err
	}
	return b, durable.Create(file, b)
}
