package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"roundtable/drill"
	"roundtable/durable"
	"roundtable/manager"
	"roundtable/node/k1"
	"roundtable/security"
)

// layOutAll makes the homes of all members. A home that is complete stays as it is.
func (a *app) layOutAll(l layout) error {
	dir, err := filepath.Abs(l.dir)
	if err != nil {
		return err
	}
	all, err := l.all(dir)
	if err != nil {
		return err
	}
	var missing []member
	for _, m := range all {
		switch err := untouched(m.home); {
		case err == nil:
			missing = append(missing, m)
		case !complete(m.home):
			return err
		}
	}
	if len(missing) == 0 {
		a.say("nothing to do: the homes of all %d members are in %s already", len(all), dir)
		return nil
	}
	founder := all[0]
	founded := complete(founder.home)
	if founded { // its CA signs for who comes later
		if _, err := os.Stat(security.InHome(founder.home).CAKey); err != nil {
			return &failure{exitFailed, fmt.Sprintf("the CA's key is not in the home of %s: %v", founder.id, err), "invite further members with: roundtable member add"}
		}
	}
	ca, gossipKey, err := security.Found(security.InHome(founder.home), l.cluster, a.now())
	if err != nil {
		return err
	}
	for _, m := range missing {
		if err := errors.Join(ca.Admit(security.InHome(m.home), m.id, m.sans(), gossipKey, a.now()), l.giveKeys(founder, m, a)); err != nil {
			return err
		}
	}
	shown := func() {}
	if !founded {
		scraper, err := l.scraper(ca)
		if err != nil {
			return err
		}
		if shown, err = a.firstTokens(founder.home, l.tokenDir, scraper...); err != nil {
			return err
		}
		if err := manager.PermitFounding(founder.home); err != nil { // it looks for the others first
			return err
		}
	}
	for _, m := range missing {
		if err := m.complete(); err != nil {
			return err
		}
		a.say("%s is the home of %s, which the others reach at %s.", m.home, m.id, m.advertise)
	}
	a.say("The cluster's CA is %s: who has it can make members.", security.InHome(founder.home).CAKey)
	shown()
	if l.keyFile == "" && !l.demoChain {
		a.say("Next: put the producer's private key into the file keys of each home, mode 0600.")
	}
	return nil
}

// complete reports whether a home was finished: its config.toml is written last.
func complete(home string) bool {
	_, err := os.Stat(filepath.Join(home, "config.toml"))
	return err == nil
}

// all are the plans of all homes, the founder's first.
func (l layout) all(dir string) ([]member, error) {
	list, err := l.memberList()
	if err != nil {
		return nil, err
	}
	var all []member
	for _, m := range list {
		all = append(all, l.member(filepath.Join(dir, m[0]), m[0], m[1]))
	}
	var bad []error
	for i := range all {
		m := &all[i]
		if m.keyFile != "" {
			m.keyFile = "keys" // a copy
		}
		for j, o := range all {
			if i == j {
				continue
			}
			m.joins = append(m.joins, o.at(o.gossip))
			if !o.witness {
				m.peers = append(m.peers, o.at(o.p2p))
			}
		}
		if l.demoChain {
			m.nodeArgs = append(m.demoArgs(), m.nodeArgs...)
		}
		bad = append(bad, m.check())
	}
	return all, errors.Join(bad...)
}

// demoLag is how many blocks it takes to make one irreversible on a demo chain, as on a real one: else a producer that is
// cut off makes its own blocks irreversible, and its node could never follow the others again.
const demoLag = "200"

// demoArgs begin the demo chain, and keep a ledger of what was signed where the node is the stand-in.
func (m member) demoArgs() []string {
	home := m.home
	if m.mounted != "" {
		home = m.mounted
	}
	args := []string{"--genesis-json", filepath.Join(home, "genesis.json")}
	if filepath.Base(m.nodeos) == "simnodeos" {
		args = append(args, "--sim-ledger", filepath.Join(home, "ledger.jsonl"), "--sim-schedule", strings.Join(m.producers, ","), "--sim-lib-lag", demoLag)
	}
	return args
}

// giveKeys puts the producer's key, and the demo chain's beginning, into a member's home. The founder's are the first: a run
// that was interrupted goes on with them.
func (l layout) giveKeys(founder, m member, a *app) error {
	if m.witness || l.keyFile == "" && !l.demoChain {
		return nil
	}
	var key []byte
	var err error
	if l.demoChain {
		key, err = once(filepath.Join(founder.home, "keys"), func() ([]byte, error) {
			k, err := k1.Generate(rand.Reader)
			if err != nil {
				return nil, err
			}
			return []byte(k.Export() + "\n"), nil
		})
	} else {
		key, err = os.ReadFile(l.keyFile)
	}
	if err != nil {
		return err
	}
	if _, err := once(filepath.Join(m.home, "keys"), func() ([]byte, error) { return key, nil }); err != nil {
		return err
	}
	if !l.demoChain {
		return nil
	}
	genesis, err := once(filepath.Join(founder.home, "genesis.json"), func() ([]byte, error) {
		private, err := k1.ParsePrivate(strings.TrimSpace(string(key)))
		if err != nil {
			return nil, errors.New("the demo chain's key is damaged")
		}
		return drill.Genesis(private.Public().String(), a.now())
	})
	if err != nil {
		return err
	}
	_, err = once(filepath.Join(m.home, "genesis.json"), func() ([]byte, error) { return genesis, nil })
	return err
}

// once reads a file, or makes it.
func once(file string, make func() ([]byte, error)) ([]byte, error) {
	b, err := os.ReadFile(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	if b, err = make(); err != nil {
		return nil, err
	}
	return b, durable.Create(file, b)
}
