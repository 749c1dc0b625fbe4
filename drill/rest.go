package drill

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"roundtable/node/k1"
)

// maxProducers is what the stand-in's schedule takes.
const maxProducers = 21

// rest is the rest of the chain: one simulated node that signs for all producers but ours. It is on the wire as a member
// is, and no manager's business. Its ledger has another name, so that nobody counts it as ours.
type rest struct {
	*Member
	names []string
	key   *k1.PrivateKey
}

// layRest prepares the rest where the chain has more producers than ours.
func (s *Sandbox) layRest() error {
	n := s.opts.Producers
	if n <= 1 {
		return nil
	}
	if n > maxProducers || !s.simulated() {
		return fmt.Errorf("drill: %d producers: there can be up to %d, and only where the nodes are %s", n, maxProducers, standIn)
	}
	key, err := k1.Generate(rand.Reader)
	if err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	r := &rest{Member: &Member{ID: "rest", Home: filepath.Join(s.Dir, "rest")}, key: key}
	for i := range n - 1 {
		r.names = append(r.names, "rest"+string(rune('a'+i)))
	}
	for _, port := range []*int{&r.http, &r.p2p} {
		if *port, err = freePort(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(r.Home, 0o700); err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	s.rest = r
	return nil
}

// Rest is the node that has all producers but ours, as an end of the wire to cut members off from; nil without one.
func (s *Sandbox) Rest() *Member {
	if s.rest == nil {
		return nil
	}
	return s.rest.Member
}

// Schedule is the chain's: whose turn it is, twelve slots each.
func (s *Sandbox) Schedule() []string {
	list := []string{s.Producer}
	if s.rest != nil {
		list = append(list, s.rest.names...)
	}
	return list
}

// keys tells every node whose key is not the genesis'.
func (r *rest) keys() []string {
	var args []string
	for _, name := range r.names {
		args = append(args, "--sim-keys", name+"="+r.key.Public().String())
	}
	return args
}

// openRest starts it, once.
func (s *Sandbox) openRest() error {
	r := s.rest
	if r == nil || r.Running() {
		return nil
	}
	args := append(r.nodeArgs(s), "--config-dir", filepath.Join(r.Home, "config"), "--data-dir", filepath.Join(r.Home, "data"),
		"--http-server-address", r.httpBind(), "--p2p-listen-endpoint", r.p2pBind(), "--agent-name", r.ID, "--enable-stale-production",
		"--signature-provider", r.key.Public().String()+"=KEY:"+r.key.Export())
	for _, name := range r.names {
		args = append(args, "--producer-name", name)
	}
	for _, peer := range r.peerAddresses(s) {
		args = append(args, "--p2p-peer-address", peer)
	}
	for _, plugin := range []string{"chain_api", "producer", "producer_api", "net", "net_api"} {
		args = append(args, "--plugin", "eosio::"+plugin+"_plugin")
	}
	return r.start(s.opts.Nodeos, args, "node.log", nil)
}

// closeRest ends it.
func (s *Sandbox) closeRest(ctx context.Context) error {
	if s.rest == nil || s.rest.process == nil {
		return nil
	}
	return errors.Join(s.Thaw(s.rest.Member, Both), s.rest.process.stop(ctx))
}

// ends are all that the wire connects.
func (s *Sandbox) ends() []*Member {
	if s.rest == nil {
		return s.Members
	}
	return append(slices.Clone(s.Members), s.rest.Member)
}
