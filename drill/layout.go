package drill

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"roundtable/manager"
)

// writeConfig writes a member's config.toml. The first member founds the cluster; the others join by its gossip address.
func (ours) writeConfig(s *Sandbox, m *Member, keyFile string) error {
	for _, dir := range []string{m.Home, s.Repository()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("drill: %w", err)
		}
	}
	var first []string
	if founder := s.Members[0]; m != founder {
		first = []string{founder.gossipAddress()}
	} else if err := manager.PermitFounding(m.Home); err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	signer := fmt.Sprintf("kind = \"file\"\nkey_file = %q\n", keyFile)
	if url := m.signerURL(); url != "" {
		signer = fmt.Sprintf("kind = \"keosd\"\nurl = %q\n", url)
	}
	config := fmt.Sprintf(`# Laid out by roundtable sandbox. A cluster that is a sandbox is on loopback only and has no TLS.
sandbox = %v

[manager]
id = %q
home = %q
api = %q
raft = %q
gossip = %q
advertise = %q
join = %s
log_level = %q

[cluster]
name = "sandbox"
producers = [%q]

[node]
path = %q
args = %s
http = %q
p2p = %q
peers = %s
stop_timeout = "20s"
crash_budget = 1000

[raft]
trailing_logs = 1048576 # the checker replays all of it

[backup.repositories.default]
url = %q

[signer]
%s`, !s.opts.Secure, m.ID, m.Home, m.apiBind(), m.raftBind(), m.gossipBind(), m.advertise(), list(first), s.opts.LogLevel,
		s.Producer, s.opts.Nodeos, list(m.nodeArgs(s)), m.httpBind(), m.p2pBind(), list(m.peerAddresses(s)), (&url.URL{Scheme: "file", Path: s.Repository()}).String(), signer)
	if err := os.WriteFile(filepath.Join(m.Home, "config.toml"), []byte(config), 0o600); err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	return nil
}

// standIn is the program that stands in for nodeos and keeps a ledger.
const standIn = "simnodeos"

// ledgerFile is what a member's simulated node signed, in its home.
const ledgerFile = "ledger.jsonl"

// simulated reports whether the nodes are the stand-in.
func (s *Sandbox) simulated() bool { return filepath.Base(s.opts.Nodeos) == standIn }

// list writes a TOML array of strings.
func list(items []string) string {
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = strconv.Quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
