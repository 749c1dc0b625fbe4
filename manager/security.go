package manager

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"roundtable/cmd/roundtable/config"
)

// security reads the certificates and the gossip key; nil and nil on a plain loopback cluster.
func security(c *config.Config) (*tls.Config, []byte, error) {
	if c.Plain() {
		return nil, nil, nil
	}
	pem, err := os.ReadFile(c.TLS.CA)
	if err != nil {
		return nil, nil, fmt.Errorf("manager: tls.ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, nil, fmt.Errorf("manager: tls.ca: %s holds no certificate", c.TLS.CA)
	}
	cert, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("manager: tls.cert and tls.key: %w", err)
	}
	text, err := os.ReadFile(c.TLS.GossipKey)
	if err != nil {
		return nil, nil, fmt.Errorf("manager: tls.gossip_key: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != 32 {
		return nil, nil, errors.New("manager: tls.gossip_key: the file must hold 32 bytes in base64")
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, ClientCAs: pool, MinVersion: tls.VersionTLS13}, key, nil
}

// flock takes the file's lock without waiting.
func flock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
