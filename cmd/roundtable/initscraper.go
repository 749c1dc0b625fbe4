package main

import (
	"path/filepath"

	"roundtable/durable"
	"roundtable/fsm"
	"roundtable/security"
)

// scraper writes what Prometheus needs to ask the members, and gives the token that is to be kept; none where nobody asked
// for it.
func (l layout) scraper(ca *security.CA) ([]fsm.Token, error) {
	if l.scraperDir == "" {
		return nil, nil
	}
	text, id, hash := security.NewToken()
	// A run that was interrupted left a token that nobody knows: it is replaced.
	for name, content := range map[string][]byte{"ca.pem": ca.Cert(), "token": []byte(text + "\n")} {
		if err := durable.Write(filepath.Join(l.scraperDir, name), content); err != nil {
			return nil, err
		}
	}
	return []fsm.Token{{ID: id, Name: "prometheus", Role: fsm.RoleRead, Hash: hash}}, nil
}
