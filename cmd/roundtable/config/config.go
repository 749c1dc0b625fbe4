package config

import (
	"log/slog"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Config is one manager's configuration. The toml names of the fields are the keys of config.toml (design/surface.md), their
// change tags the class of each key (class.go). After Load, or Finish for one made in code, everything optional is filled in
// and every path is absolute.
type Config struct {
	// a cluster for trying things out: loopback only, no TLS, everybody is admin
	Sandbox   bool      `toml:"sandbox" change:"manager"`
	Manager   Manager   `toml:"manager"`
	Cluster   Cluster   `toml:"cluster"`
	Node      Node      `toml:"node"`
	Signer    Signer    `toml:"signer"`
	Lease     Lease     `toml:"lease"`
	Raft      Raft      `toml:"raft"`
	Upgrade   Upgrade   `toml:"upgrade"`
	Backup    Backup    `toml:"backup"`
	Bootstrap Bootstrap `toml:"bootstrap"`
	TLS       TLS       `toml:"tls"`

	file    string          // for messages
	set     map[string]bool // keys that were given, not defaulted
	origin  map[string]string
	environ []string // what was laid over the file
	flags   map[string]string
}

// Manager is this process: who it is, where it listens and how it is reached.
type Manager struct {
	ID        string   `toml:"id" change:"manager"`        // this member's name in the cluster; it never changes
	Home      string   `toml:"home" change:"manager"`      // folder for this manager's files; default: the folder of config.toml
	API       string   `toml:"api" change:"manager"`       // host:port that the HTTP API listens on
	Raft      string   `toml:"raft" change:"manager"`      // host:port that raft listens on (TCP)
	Gossip    string   `toml:"gossip" change:"manager"`    // host:port that gossip listens on (TCP and UDP)
	Advertise string   `toml:"advertise" change:"manager"` // host that the other members reach this one by; default: the host listened on
	Join      []string `toml:"join" change:"manager"`      // gossip host:port of other members; empty: this one founds the cluster, if its home has the permission
	Priority  int      `toml:"priority" change:"live"`     // higher is preferred as holder
	// never chosen as holder by itself; a handoff may still name it
	NoFailover bool   `toml:"nofailover" change:"live"`
	Witness    bool   `toml:"witness" change:"manager"`    // votes, has no node; [node] and [signer] must be left out
	LogLevel   string `toml:"log_level" change:"live"`     // debug, info, warn, error
	LogFormat  string `toml:"log_format" change:"manager"` // text, json
}

// Cluster is what the founder writes into the cluster's state; later it is changed there and no longer here.
type Cluster struct {
	Name      string   `toml:"name" change:"manager"`      // the same on all members
	Producers []string `toml:"producers" change:"manager"` // accounts that this cluster signs for; default: the node's
}

// Node is the local nodeos.
type Node struct {
	Path           string            `toml:"path" change:"node"`            // of nodeos; a bare name is looked up in PATH
	Args           []string          `toml:"args" change:"node"`            // further arguments of nodeos
	ConfigTemplate string            `toml:"config_template" change:"node"` // file with lines of config.ini that roundtable does not own
	DataDir        string            `toml:"data_dir" change:"manager"`     // nodeos' data; default: node/data in the home
	ConfigDir      string            `toml:"config_dir" change:"manager"`   // config.ini and logging.json are written here; default: node/config in the home
	HTTP           string            `toml:"http" change:"manager"`         // host:port of nodeos' API; loopback only, it has no authentication
	P2P            string            `toml:"p2p" change:"manager"`          // host:port that nodeos' p2p listens on
	Peers          []string          `toml:"peers" change:"node"`           // p2p host:port of others
	Producers      []string          `toml:"producers" change:"manager"`    // ours; default: the cluster's
	Fence          string            `toml:"fence" change:"manager"`        // what keeps a node without the lease from signing: gate, the only one in this version
	StopTimeout    Duration          `toml:"stop_timeout" change:"live"`    // for nodeos to write its state after SIGTERM; killed after it, and then its database is dirty
	CrashBudget    int               `toml:"crash_budget" change:"live"`    // ends within crash_window after which the node is no longer started
	CrashWindow    Duration          `toml:"crash_window" change:"live"`    // see crash_budget
	Env            map[string]string `toml:"env" change:"node"`             // added to nodeos' environment
}

// Signer holds the keys, or reaches them.
type Signer struct {
	Kind    string   `toml:"kind" change:"manager"`     // file, keosd
	KeyFile string   `toml:"key_file" change:"manager"` // for kind = "file": private keys, one per line; mode 0600; default: keys in the home
	URL     string   `toml:"url" change:"manager"`      // for kind = "keosd": http://host:port, or unix:///path
	Timeout Duration `toml:"timeout" change:"manager"`  // for one signature; nodeos itself waits 400 ms
}

// Lease is how far ahead the holder may sign.
type Lease struct {
	Slots int `toml:"slots" change:"manager"` // L: slots of 500 ms; more lets a longer election pass, and costs as much at a failover
}

// Raft is the raft group's timing.
type Raft struct {
	Heartbeat         Duration `toml:"heartbeat" change:"manager"`          // how long a follower hears nothing before it asks for an election
	Election          Duration `toml:"election" change:"manager"`           // how long an election may take before the next try
	SnapshotThreshold int      `toml:"snapshot_threshold" change:"manager"` // entries between two raft snapshots
	TrailingLogs      int      `toml:"trailing_logs" change:"manager"`      // entries kept behind a raft snapshot
}

// Upgrade says where versions of nodeos come from that are not in the folder versions yet, and how upgrades go. A request may say some of it otherwise.
type Upgrade struct {
	AutoInstall bool   `toml:"auto_install" change:"live"` // fetch a version that is not there; off: an operator puts its folder into versions, on each member
	Source      string `toml:"source" change:"live"`       // where from: `file:///DIR/nodeos-{version}.tar.gz`, `https://HOST/{tag}/nodeos-{arch}.deb`, or `github.com/OWNER/REPO`; {tag}, {version} (the tag without v), {os} and {arch} are filled in
	Asset       string `toml:"asset" change:"live"`        // which file of a release: a name or a pattern such as `*_{version}_{arch}.deb`; default: the only one that may be it
	Checksums   string `toml:"checksums" change:"live"`    // file with its SHA-256: a URL, or a name beside the asset, {asset} being that one's name; default: what the release says, or the usual names
	Binary      string `toml:"binary" change:"live"`       // nodeos in the asset: a name, wherever it is there, or a path
	// file with the bearer token for the source, mode 0600
	TokenFile string `toml:"token_file" change:"live"`
	// how often a connection that was lost is tried again without having come further
	ConnectionRetries int               `toml:"connection_retries" change:"live"`
	Folders           map[string]string `toml:"folders" change:"live"` // by the tag of a version: a folder that has it, used instead of versions/TAG
	// versions that stay beside the present one and the one before it; older ones are removed after an upgrade
	Keep int `toml:"keep" change:"live"`
	// executable that is run on each member before its node is stopped for an upgrade; where it fails, nothing is stopped
	Hook        string   `toml:"hook" change:"live"`
	HookTimeout Duration `toml:"hook_timeout" change:"live"` // for the hook; killed after it, which is a failure
	// for one member of a restart, an upgrade or a rollout, from the stop of its node to the proof that it is back; at most 1h; default: 10m, or 5m more than node.stop_timeout
	StepTimeout Duration `toml:"step_timeout" change:"live"`
	Rollout     string   `toml:"rollout" change:"live"` // auto: what this file, or node.config_template, says anew of the node is rolled out by itself; manual: when an operator says so
}

// Values of upgrade.rollout.
const (
	RolloutAuto   = "auto"
	RolloutManual = "manual"
)

// TLS names the files that raft, gossip and API are secured with.
type TLS struct {
	Off       bool     `toml:"off" change:"manager"`        // no TLS at all: loopback only
	CA        string   `toml:"ca" change:"manager"`         // the certificates of the cluster's CA, of both while one takes over from another; default: tls/ca.pem in the home
	CAKey     string   `toml:"ca_key" change:"manager"`     // the CA's key, mode 0600; a member without it asks one that has it; default: tls/ca.key in the home, if it is there
	Cert      string   `toml:"cert" change:"manager"`       // this member's certificate; default: tls/cert.pem in the home
	Key       string   `toml:"key" change:"manager"`        // its private key, mode 0600; default: tls/key.pem in the home
	GossipKey string   `toml:"gossip_key" change:"manager"` // file with the 32 bytes, in base64, that gossip is encrypted with, mode 0600; default: tls/gossip.key in the home
	Renew     bool     `toml:"renew" change:"manager"`      // renew the certificate by itself when a third of its life is left; off: somebody else replaces the files
	Hosts     []string `toml:"hosts" change:"live"`         // further names and addresses that clients reach this member's API by, such as a load balancer's
}

// Duration is a time.Duration that is written as Go writes one: "300ms", "1m30s".
type Duration time.Duration

// D is the plain duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String writes it as it is read.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes it as it is read.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Default is the configuration before anything is read.
func Default() *Config {
	return &Config{
		Manager: Manager{API: "127.0.0.1:9080", Raft: "127.0.0.1:9070", Gossip: "127.0.0.1:9060", LogLevel: "info", LogFormat: "text"},
		Node: Node{
			Path: "nodeos", HTTP: "127.0.0.1:8888", P2P: "127.0.0.1:9876", Fence: "gate",
			StopTimeout: Duration(2 * time.Minute), CrashBudget: 5, CrashWindow: Duration(10 * time.Minute),
		},
		Signer: Signer{Kind: "file", Timeout: Duration(300 * time.Millisecond)},
		Lease:  Lease{Slots: 4},
		Raft: Raft{
			Heartbeat: Duration(300 * time.Millisecond), Election: Duration(300 * time.Millisecond),
			SnapshotThreshold: 8192, TrailingLogs: 1024,
		},
		Upgrade: Upgrade{
			Binary: "nodeos", ConnectionRetries: 5, Keep: 3,
			HookTimeout: Duration(5 * time.Minute), StepTimeout: Duration(10 * time.Minute), Rollout: RolloutAuto,
		},
		Backup: Backup{
			StepLimit: Duration(6 * time.Hour), KeepOld: Duration(24 * time.Hour), HookTimeout: Duration(5 * time.Minute), AutoRestore: RestoreLast,
			TrialLimit: Duration(30 * time.Minute), SnapshotTimeout: Duration(15 * time.Minute),
		},
		TLS: TLS{Renew: true},
		set: map[string]bool{}, origin: map[string]string{},
	}
}

// fill completes what was left out.
func (c *Config) fill() {
	if c.Manager.Home == "" && c.file != "" {
		c.Manager.Home = filepath.Dir(c.file)
	}
	if abs, err := filepath.Abs(c.Manager.Home); err == nil && c.Manager.Home != "" {
		c.Manager.Home = abs
	}
	if len(c.Cluster.Producers) == 0 {
		c.Cluster.Producers = slices.Clone(c.Node.Producers)
	}
	if len(c.Node.Producers) == 0 {
		c.Node.Producers = slices.Clone(c.Cluster.Producers)
	}
	under := func(p *string, byDefault ...string) {
		if *p == "" {
			*p = filepath.Join(byDefault...)
		}
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(c.Manager.Home, *p)
		}
	}
	under(&c.Node.DataDir, "node", "data")
	under(&c.Node.ConfigDir, "node", "config")
	under(&c.Node.ConfigTemplate)
	if c.Signer.Kind == "file" {
		under(&c.Signer.KeyFile, "keys")
	}
	under(&c.Upgrade.TokenFile)
	under(&c.Upgrade.Hook)
	c.Upgrade.Folders = maps.Clone(c.Upgrade.Folders)
	for tag, folder := range c.Upgrade.Folders {
		under(&folder)
		c.Upgrade.Folders[tag] = folder
	}
	c.fillBackup(under)
	if !c.set["upgrade.step_timeout"] {
		c.Upgrade.StepTimeout = min(max(c.Upgrade.StepTimeout, c.Node.StopTimeout+Duration(afterStop)), Duration(maxStep))
	}
	if !c.Plain() {
		under(&c.TLS.CA, "tls", "ca.pem")
		under(&c.TLS.CAKey, "tls", "ca.key")
		under(&c.TLS.Cert, "tls", "cert.pem")
		under(&c.TLS.Key, "tls", "key.pem")
		under(&c.TLS.GossipKey, "tls", "gossip.key")
	}
}

// File is the config.toml that this one was read from; "" for one made in code.
func (c *Config) File() string { return c.file }

// Plain reports that raft, gossip and API go without TLS, which only loopback addresses may.
func (c *Config) Plain() bool { return c.Sandbox || c.TLS.Off }

// Level is manager.log_level.
func (c *Config) Level() slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Manager.LogLevel)); err != nil {
		return slog.LevelInfo
	}
	return level
}

// Socket is the path of the gate's unix socket.
func (c *Config) Socket() string { return filepath.Join(c.Manager.Home, "gate.sock") }

// APISocket is the manager's own API socket: whoever may open it needs no token.
func (c *Config) APISocket() string { return filepath.Join(c.Manager.Home, "api.sock") }

// RaftDir is the folder of raft's log and snapshots.
func (c *Config) RaftDir() string { return filepath.Join(c.Manager.Home, "raft") }

// reached is the address that others reach one of ours by.
func (c *Config) reached(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if c.Manager.Advertise != "" {
		host = c.Manager.Advertise
	}
	return net.JoinHostPort(host, port)
}

// RaftAddr is the host:port that the others reach this member's raft by.
func (c *Config) RaftAddr() string { return c.reached(c.Manager.Raft) }

// GossipAddr is the host:port that the others reach this member's gossip by.
func (c *Config) GossipAddr() string { return c.reached(c.Manager.Gossip) }

// P2PAddr is the host:port that the others' nodes reach this member's node by.
func (c *Config) P2PAddr() string { return c.reached(c.Node.P2P) }

// APIURL is the URL that the others reach this member's API by.
func (c *Config) APIURL() string {
	if c.Plain() {
		return "http://" + c.reached(c.Manager.API)
	}
	return "https://" + c.reached(c.Manager.API)
}

// Hosts are the names and addresses that this member's certificate must be good for, loopback aside.
func (c *Config) Hosts() []string {
	var list []string
	for _, addr := range []string{c.reached(c.Manager.API), c.reached(c.Manager.Raft)} {
		list = append(list, hostOf(addr))
	}
	list = append(list, c.TLS.Hosts...)
	slices.Sort(list)
	return slices.DeleteFunc(slices.Compact(list), func(h string) bool { return loopback(h) || unspecified(h) })
}

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	return host
}

// LogValue is the configuration in one log line: without the node's arguments and environment and without a password in
// the signer's URL, since any of them may be secret.
func (c *Config) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", c.Manager.ID), slog.String("home", c.Manager.Home), slog.String("api", c.Manager.API),
		slog.String("raft", c.Manager.Raft), slog.String("gossip", c.Manager.Gossip), slog.Any("join", c.Manager.Join),
		slog.String("cluster", c.Cluster.Name), slog.Any("producers", c.Cluster.Producers), slog.String("node", c.Node.Path),
		slog.String("fence", c.Node.Fence), slog.String("signer", c.Signer.Kind), slog.String("signer_url", maskURL(c.Signer.URL)),
		slog.Int("slots", c.Lease.Slots), slog.Bool("witness", c.Manager.Witness), slog.Bool("plain", c.Plain()),
	)
}

// maskURL takes a password out of a URL; of one that does not parse nothing is shown.
func maskURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "***"
	}
	return u.Redacted()
}

// maskQuery takes the parameters out of a URL that was masked: some stores have passwords there.
func maskQuery(s string) string {
	if before, _, ok := strings.Cut(s, "?"); ok {
		return before + "?***"
	}
	return s
}
