package config

import (
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"time"
)

// Config is one manager's configuration. The toml names of the fields are the keys of config.toml (design/surface.md).
// After Load, or Finish for one made in code, everything optional is filled in and every path is absolute.
type Config struct {
	// a cluster for trying things out: loopback only, no TLS, everybody is admin
	Sandbox bool    `toml:"sandbox"`
	Manager Manager `toml:"manager"`
	Cluster Cluster `toml:"cluster"`
	Node    Node    `toml:"node"`
	Signer  Signer  `toml:"signer"`
	Lease   Lease   `toml:"lease"`
	Raft    Raft    `toml:"raft"`
	TLS     TLS     `toml:"tls"`

	file   string          // for messages
	set    map[string]bool // keys that were given, not defaulted
	origin map[string]string
}

// Manager is this process: who it is, where it listens and how it is reached.
type Manager struct {
	ID        string   `toml:"id"`        // this member's name in the cluster; it never changes
	Home      string   `toml:"home"`      // folder for this manager's files; default: the folder of config.toml
	API       string   `toml:"api"`       // host:port that the HTTP API listens on
	Raft      string   `toml:"raft"`      // host:port that raft listens on (TCP)
	Gossip    string   `toml:"gossip"`    // host:port that gossip listens on (TCP and UDP)
	Advertise string   `toml:"advertise"` // host that the other members reach this one by; default: the host listened on
	Join      []string `toml:"join"`      // gossip host:port of other members; empty: this one founds the cluster, if its home has the permission
	Priority  int      `toml:"priority"`  // higher is preferred as holder
	// never chosen as holder by itself; a handoff may still name it
	NoFailover bool   `toml:"nofailover"`
	Witness    bool   `toml:"witness"`    // votes, has no node; [node] and [signer] must be left out
	LogLevel   string `toml:"log_level"`  // debug, info, warn, error
	LogFormat  string `toml:"log_format"` // text, json
}

// Cluster is what the founder writes into the cluster's state; later it is changed there and no longer here.
type Cluster struct {
	Name      string   `toml:"name"`      // the same on all members
	Producers []string `toml:"producers"` // accounts that this cluster signs for; default: the node's
}

// Node is the local nodeos.
type Node struct {
	Path           string            `toml:"path"`            // of nodeos; a bare name is looked up in PATH
	Args           []string          `toml:"args"`            // further arguments of nodeos
	ConfigTemplate string            `toml:"config_template"` // file with lines of config.ini that roundtable does not own
	DataDir        string            `toml:"data_dir"`        // nodeos' data; default: node/data in the home
	ConfigDir      string            `toml:"config_dir"`      // config.ini and logging.json are written here; default: node/config in the home
	HTTP           string            `toml:"http"`            // host:port of nodeos' API; loopback only, it has no authentication
	P2P            string            `toml:"p2p"`             // host:port that nodeos' p2p listens on
	Peers          []string          `toml:"peers"`           // p2p host:port of others
	Producers      []string          `toml:"producers"`       // ours; default: the cluster's
	Fence          string            `toml:"fence"`           // what keeps a node without the lease from signing: gate, the only one in this version
	StopTimeout    Duration          `toml:"stop_timeout"`    // for nodeos to write its state after SIGTERM; killed after it, and then its database is dirty
	CrashBudget    int               `toml:"crash_budget"`    // ends within crash_window after which the node is no longer started
	CrashWindow    Duration          `toml:"crash_window"`    // see crash_budget
	Env            map[string]string `toml:"env"`             // added to nodeos' environment
}

// Signer holds the keys, or reaches them.
type Signer struct {
	Kind    string   `toml:"kind"`     // file, keosd
	KeyFile string   `toml:"key_file"` // for kind = "file": private keys, one per line; mode 0600; default: keys in the home
	URL     string   `toml:"url"`      // for kind = "keosd": http://host:port, or unix:///path
	Timeout Duration `toml:"timeout"`  // for one signature; nodeos itself waits 400 ms
}

// Lease is how far ahead the holder may sign.
type Lease struct {
	Slots int `toml:"slots"` // L: slots of 500 ms; more lets a longer election pass, and costs as much at a failover
}

// Raft is the raft group's timing.
type Raft struct {
	Heartbeat         Duration `toml:"heartbeat"`          // how long a follower hears nothing before it asks for an election
	Election          Duration `toml:"election"`           // how long an election may take before the next try
	SnapshotThreshold int      `toml:"snapshot_threshold"` // entries between two raft snapshots
	TrailingLogs      int      `toml:"trailing_logs"`      // entries kept behind a raft snapshot
}

// TLS names the files that raft, gossip and API are secured with.
type TLS struct {
	Off       bool     `toml:"off"`        // no TLS at all: loopback only
	CA        string   `toml:"ca"`         // the certificates of the cluster's CA, of both while one takes over from another; default: tls/ca.pem in the home
	CAKey     string   `toml:"ca_key"`     // the CA's key, mode 0600; a member without it asks one that has it; default: tls/ca.key in the home, if it is there
	Cert      string   `toml:"cert"`       // this member's certificate; default: tls/cert.pem in the home
	Key       string   `toml:"key"`        // its private key, mode 0600; default: tls/key.pem in the home
	GossipKey string   `toml:"gossip_key"` // file with the 32 bytes, in base64, that gossip is encrypted with, mode 0600; default: tls/gossip.key in the home
	Renew     bool     `toml:"renew"`      // renew the certificate by itself when a third of its life is left; off: somebody else replaces the files
	Hosts     []string `toml:"hosts"`      // further names and addresses that clients reach this member's API by, such as a load balancer's
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
	if !c.Plain() {
		under(&c.TLS.CA, "tls", "ca.pem")
		under(&c.TLS.CAKey, "tls", "ca.key")
		under(&c.TLS.Cert, "tls", "cert.pem")
		under(&c.TLS.Key, "tls", "key.pem")
		under(&c.TLS.GossipKey, "tls", "gossip.key")
	}
}

// Plain reports that raft, gossip and API go without TLS, which only loopback addresses may.
func (c *Config) Plain() bool { return c.Sandbox || c.TLS.Off }

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
