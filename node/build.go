package node

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Fence says what keeps a node without a lease from signing.
type Fence string

// The fences.
const (
	FenceGate  Fence = "gate"  // nodeos holds no block-signing key; it asks the manager's gate
	FencePause Fence = "pause" // nodeos holds the keys (`KEY:`); the manager pauses or kills it. Weaker
)

// MaxSocketPath is the longest path of a unix socket: sun_path has 108 bytes with its zero.
const MaxSocketPath = 107

// Settings is what a config.ini is built from.
type Settings struct {
	Template string // the operator's config.ini text, may be empty; its settings stay but for those below
	Args     []string

	HTTP      string // http-server-address, host:port on a loopback address; needed
	P2P       string // p2p-listen-endpoint; "" keeps the template's
	AgentName string // "" keeps the template's
	Peers     []string
	Producers []string // replaces the template's; "" is an observer
	Fence     Fence    // "" = FenceGate

	Keys         []string // public keys the gate signs for (FenceGate)
	Socket       string   // the gate's unix socket, absolute
	SignerMillis int      // keosd-provider-timeout; 0 = 400. nodeos' own 5 loses blocks (FACT 43); negative would hang it

	Extra []Setting // further settings; these replace the template's of the same key
}

// Built is a config.ini ready to be written.
type Built struct {
	Text    []byte   // holds private keys under FencePause, and BLS keys: write it 0600 and do not print it
	BLSKeys []string // public BLS keys of the template; no two members may have one in common (lease.md)
	K1Keys  []string // public keys of the template that nodeos holds itself (FencePause)
	Notes   []string // settings of the template that were replaced, for the log
}

// ConfigError refuses a template, an argument or a setting. It never holds a private key.
type ConfigError struct {
	Key  string // the option, e.g. signature-provider
	Text string
	Hint string
}

// Error gives the option, what is wrong, and what to do.
func (e *ConfigError) Error() string {
	s := "node: config: " + e.Key + ": " + e.Text
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// plugins are the ones the manager needs.
var plugins = []string{
	"eosio::chain_plugin", "eosio::chain_api_plugin", "eosio::producer_plugin", "eosio::producer_api_plugin",
	"eosio::net_plugin", "eosio::net_api_plugin", "eosio::db_size_api_plugin",
}

// Build makes the config.ini of a node. The refusals are *ConfigError.
func Build(s Settings) (Built, error) {
	template, err := ParseINI(s.Template)
	if err != nil {
		return Built{}, &ConfigError{Key: "template", Text: strings.TrimPrefix(err.Error(), "node: ")}
	}
	if s.Fence == "" {
		s.Fence = FenceGate
	}
	if s.SignerMillis == 0 {
		s.SignerMillis = 400
	}
	if err := s.check(template); err != nil {
		return Built{}, err
	}
	var b Built
	var out []Setting
	var peers, plugged []string
	owned := s.owned()
	for _, t := range template {
		switch t.Key {
		case "plugin":
			plugged = append(plugged, strings.FieldsFunc(t.Value, func(r rune) bool { return strings.ContainsRune(" \t,", r) })...)
			continue
		case "p2p-peer-address":
			peers = append(peers, t.Value)
			continue
		case "signature-provider":
			pub, _, _ := strings.Cut(t.Value, "=")
			if strings.HasPrefix(pub, "PUB_BLS_") {
				b.BLSKeys = append(b.BLSKeys, pub)
			} else {
				b.K1Keys = append(b.K1Keys, pub)
			}
		default:
			if i := slices.IndexFunc(owned, func(o Setting) bool { return o.Key == t.Key }); i >= 0 {
				if owned[i].Value != t.Value {
					b.Notes = append(b.Notes, fmt.Sprintf("%s: %q is replaced", t.Key, t.Value))
				}
				continue
			}
		}
		out = append(out, t)
	}
	out = append(out, owned...)
	for _, p := range union(plugged, plugins) {
		out = append(out, Setting{"plugin", p})
	}
	for _, p := range union(peers, s.Peers) {
		out = append(out, Setting{"p2p-peer-address", p})
	}
	if s.Fence == FenceGate {
		for _, key := range s.Keys {
			// Exactly the socket's path: with a URL path after it nodeos hangs at 100% CPU (FACT 47).
			out = append(out, Setting{"signature-provider", key + "=KEOSD:unix://" + s.Socket})
		}
	}
	text, err := writeINI(out)
	if err != nil {
		return Built{}, &ConfigError{Key: "settings", Text: strings.TrimPrefix(err.Error(), "node: ")}
	}
	b.Text = append([]byte("# Written by roundtable before each start of nodeos; change the template instead.\n"), text...)
	return b, nil
}

// owned lists what replaces the template's settings.
func (s Settings) owned() []Setting {
	all := []Setting{
		{"http-server-address", s.HTTP},
		{"pause-on-startup", "true"},
		{"keosd-provider-timeout", strconv.Itoa(s.SignerMillis)},
	}
	if s.P2P != "" {
		all = append(all, Setting{"p2p-listen-endpoint", s.P2P})
	}
	if s.AgentName != "" {
		all = append(all, Setting{"agent-name", s.AgentName})
	}
	for _, p := range s.Producers {
		all = append(all, Setting{"producer-name", p})
	}
	return append(all, s.Extra...)
}

// union is a and then what of b is not in it, each once.
func union(a, b []string) []string {
	var all []string
	for _, v := range slices.Concat(a, b) {
		if v != "" && !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}

// check refuses what would go round the fence or break nodeos.
func (s Settings) check(template []Setting) error {
	if err := CheckArgs(s.Args); err != nil {
		return &ConfigError{Key: "node.args", Text: strings.TrimPrefix(err.Error(), "node: ")}
	}
	if err := checkHTTP("http-server-address", s.HTTP); err != nil {
		return err
	}
	if s.SignerMillis < 0 || s.SignerMillis > 500 {
		return &ConfigError{Key: "keosd-provider-timeout", Text: fmt.Sprintf("%d ms", s.SignerMillis),
			Hint: "1 to 500; without a limit a hanging signer hangs nodeos' main thread"}
	}
	deepMind := slices.Contains(s.Args, "--deep-mind") || slices.ContainsFunc(s.Args, func(a string) bool { return strings.HasPrefix(a, "--deep-mind=") })
	signers := 0
	for _, t := range slices.Concat(template, s.Extra) {
		switch t.Key {
		case "signature-provider":
			if err := s.checkProvider(t.Value); err != nil {
				return err
			}
			if !strings.HasPrefix(t.Value, "PUB_BLS_") {
				signers++
			}
		case "producer-name":
			if len(s.Producers) == 0 {
				return &ConfigError{Key: "producer-name", Text: t.Value + " is in the template, but the manager knows no producer", Hint: "name the producers in node.producers"}
			}
		case "deep-mind":
			deepMind = deepMind || t.Value != "false" && t.Value != "0" && t.Value != "no"
		case "http-category-address":
			category, addr, _ := strings.Cut(t.Value, ",")
			if strings.HasPrefix(category, "chain_ro") || strings.HasPrefix(addr, "/") || strings.HasPrefix(addr, ".") {
				continue
			}
			if err := checkHTTP("http-category-address", addr); err != nil {
				return err
			}
		case "logconf":
			return &ConfigError{Key: t.Key, Text: "the manager owns logging.json: the gate reads nodeos' slot lines from it", Hint: "give additions in the logging template"}
		}
	}
	if s.Fence == FenceGate && len(s.Keys) > 0 {
		if err := checkSocket(s.Socket); err != nil {
			return err
		}
	}
	switch {
	case s.Fence != FenceGate && s.Fence != FencePause:
		return &ConfigError{Key: "fence", Text: string(s.Fence) + " is unknown", Hint: "gate or pause"}
	case len(s.Producers) == 0:
		return nil
	case deepMind:
		return &ConfigError{Key: "deep-mind", Text: "a producing node cannot run deep-mind; nodeos refuses it too", Hint: "run deep-mind on an observer"}
	case s.Fence == FencePause && signers == 0:
		return &ConfigError{Key: "signature-provider", Text: "producers without a key", Hint: "with fence \"pause\" the template needs `signature-provider = PUB=KEY:...`"}
	case s.Fence == FenceGate && len(s.Keys) == 0:
		return &ConfigError{Key: "signature-provider", Text: "producers without a key", Hint: "configure [signer]"}
	}
	return nil
}

// checkProvider refuses a signature-provider that signs blocks past the gate.
func (s Settings) checkProvider(value string) error {
	pub, spec, ok := strings.Cut(value, "=")
	kind, _, ok2 := strings.Cut(spec, ":")
	if !ok || !ok2 || pub == "" {
		return &ConfigError{Key: "signature-provider", Text: "malformed", Hint: "want PUBLIC_KEY=KEY:... ; nodeos would print it whole into its log"}
	}
	if strings.HasPrefix(pub, "PUB_BLS_") {
		if kind != "KEY" {
			return &ConfigError{Key: "signature-provider", Text: Mask(pub) + " must be KEY: nodeos takes BLS keys only so"}
		}
		return nil
	}
	if s.Fence == FencePause {
		return nil
	}
	return &ConfigError{Key: "signature-provider", Text: fmt.Sprintf("%s=%s:*** signs blocks past the gate", Mask(pub), Mask(kind)),
		Hint: "remove the line and give the key to [signer]; or set fence = \"pause\", which protects less"}
}

// checkHTTP wants host:port on a loopback address. nodeos takes a port above 65535 without an error and then has no HTTP.
func checkHTTP(key, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return &ConfigError{Key: key, Text: fmt.Sprintf("%q is no host:port", addr), Hint: "e.g. 127.0.0.1:8888"}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return &ConfigError{Key: key, Text: fmt.Sprintf("%q has no valid port", addr), Hint: "1 to 65535"}
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return &ConfigError{Key: key, Text: addr + " would let anybody pause and resume this producer", Hint: "use a loopback address; the manager's proxy serves others"}
	}
	return nil
}

// checkSocket wants an absolute path that fits a socket address and a config.ini.
func checkSocket(path string) error {
	switch {
	case !filepath.IsAbs(path):
		return &ConfigError{Key: "socket", Text: fmt.Sprintf("%q is not absolute", path)}
	case len(path) > MaxSocketPath:
		return &ConfigError{Key: "socket", Text: fmt.Sprintf("%s has %d bytes, a unix socket's path at most %d", path, len(path), MaxSocketPath), Hint: "use a shorter manager.home"}
	case strings.ContainsAny(path, "#=? \t\n\r"):
		return &ConfigError{Key: "socket", Text: fmt.Sprintf("%q holds a character that a config.ini or a URL cannot", path)}
	}
	return nil
}

// IsConfigError reports whether err refuses a configuration, so that trying again is useless.
func IsConfigError(err error) bool {
	var e *ConfigError
	return errors.As(err, &e)
}
