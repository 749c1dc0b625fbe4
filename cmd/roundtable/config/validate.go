package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"roundtable/node"
	"roundtable/node/versions"
	"roundtable/security"
)

// The bounds that the promise or the machine sets.
const (
	maxSocketPath = 107 // bytes in sockaddr_un, less the final 0
	slot          = 500 * time.Millisecond
	minHeartbeat  = 100 * time.Millisecond // below it a loaded machine flaps (libraries.md)
	maxLeaseSlots = 14                     // fsm.MaxSlots
	// measured: with 300 ms timeouts the slowest election took 820 ms; it grows with them.
	measuredElection = 820 * time.Millisecond
	measuredTimeout  = 300 * time.Millisecond
	// nodeos gives up after the keosd-provider-timeout that manager writes, 400 ms; the gate must have answered before.
	maxSignerTimeout = 350 * time.Millisecond
	maxStep          = time.Hour       // fsm.MaxStep
	afterStop        = 5 * time.Minute // for a node to come back
)

var (
	idPattern      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	accountPattern = regexp.MustCompile(`^[.1-5a-z]{0,11}[1-5a-z]$|^[.1-5a-z]{12}[1-5a-j]$`)
)

// WorstElection is how long a cluster with these timeouts may be without a leader.
func (r Raft) WorstElection() time.Duration {
	return time.Duration(float64(measuredElection) * float64(max(r.Election, r.Heartbeat)) / float64(measuredTimeout))
}

// MinSlots is the shortest lease that outlasts the worst election and two slots: an election must not move production. It may
// be more than a lease may have.
func (r Raft) MinSlots() int { return int((r.WorstElection()+2*slot)/slot) + 1 }

// validate reports everything that may not stay so.
func (c *Config) validate() error {
	var found problems
	c.checkManager(&found)
	c.checkAddresses(&found)
	c.checkTiming(&found)
	c.checkTLS(&found)
	if c.Manager.Witness {
		for _, section := range []string{"node", "signer", "upgrade", "backup", "bootstrap"} {
			if c.set[section] {
				found.add(c, section, "take the ["+section+"] section out, or set manager.witness = false", "a witness votes and has no node")
			}
		}
	} else {
		c.checkNode(&found)
		c.checkSigner(&found)
		c.checkUpgrade(&found)
		c.checkBackup(&found)
		c.checkBootstrap(&found)
	}
	return found.join()
}

func keyOf(err error) string {
	var p *Problem
	if errors.As(err, &p) {
		return p.Key
	}
	return ""
}

func (c *Config) checkManager(found *problems) {
	m := c.Manager
	if !idPattern.MatchString(m.ID) {
		found.add(c, "manager.id", "give each manager its own id: 1 to 63 letters, digits, dots, dashes", "is not an id")
	}
	if m.Home == "" {
		found.add(c, "manager.home", "name the folder for this manager's files", "is missing")
	}
	c.oneOf(found, "manager.log_level", m.LogLevel, "debug", "info", "warn", "error")
	c.oneOf(found, "manager.log_format", m.LogFormat, "text", "json")
	if !idPattern.MatchString(c.Cluster.Name) {
		found.add(c, "cluster.name", "give the cluster a name, the same on all members: 1 to 63 letters, digits, dots, dashes", "is not a name")
	}
	if len(c.Cluster.Producers) == 0 {
		found.add(c, "cluster.producers", "name the producer accounts that this cluster signs for", "names nobody")
	}
	for _, key := range []string{"cluster.producers", "node.producers"} {
		f, _ := c.field(key)
		list, _ := f.value.Interface().([]string)
		for i, p := range list {
			if !accountPattern.MatchString(p) {
				found.add(c, key, "an account is 1 to 12 of the characters a-z, 1-5 and dot", "%q is not an account name", p)
			} else if slices.Contains(list[:i], p) {
				found.add(c, key, "name each producer once", "%q stands there twice", p)
			}
		}
	}
	for _, p := range c.Node.Producers {
		if len(c.Cluster.Producers) > 0 && !slices.Contains(c.Cluster.Producers, p) {
			found.add(c, "node.producers", "leave node.producers out: the cluster's are taken", "%q is none of cluster.producers %q", p, c.Cluster.Producers)
		}
	}
}

// checkAddresses checks what is listened on and what is reached.
func (c *Config) checkAddresses(found *problems) {
	listen := map[string]string{"manager.api": c.Manager.API, "manager.raft": c.Manager.Raft, "manager.gossip": c.Manager.Gossip}
	if !c.Manager.Witness {
		listen["node.http"], listen["node.p2p"] = c.Node.HTTP, c.Node.P2P
	}
	ports := map[string]string{}
	for _, key := range []string{"manager.api", "manager.raft", "manager.gossip", "node.http", "node.p2p"} {
		addr, ok := listen[key]
		if !ok {
			continue
		}
		host, port, err := splitAddr(addr, c.Sandbox)
		if err != nil {
			found.add(c, key, "write host:port, such as 127.0.0.1:9080", "%v", err)
			continue
		}
		if other, taken := ports[port]; taken && port != "0" {
			found.add(c, key, "give each its own port", "has the port of %s", other)
		}
		ports[port] = key
		switch {
		case loopback(host):
		case c.Sandbox:
			found.add(c, key, "listen on 127.0.0.1, or take sandbox = true out and set up TLS", "a sandbox has no TLS and stays on loopback")
		case key == "node.http":
			found.add(c, key, "listen on 127.0.0.1: this API can pause production and asks for no password", "nodeos' API must not be reachable from other machines")
		case key != "node.p2p" && c.TLS.Off:
			found.add(c, key, "listen on 127.0.0.1, or take tls.off = true out and set up [tls]", "without TLS only loopback addresses may be listened on")
		case unspecified(host) && c.Manager.Advertise == "":
			found.add(c, key, "set manager.advertise to the name or address that the other members reach this one by", "every address is listened on, and which one others reach is not known")
		}
	}
	if a := c.Manager.Advertise; a != "" && security.CheckHost(a) != nil {
		found.add(c, "manager.advertise", "write a host name or an address, without a port", "is not a host that others could reach")
	}
	for key, list := range map[string][]string{"manager.join": c.Manager.Join, "node.peers": c.Node.Peers} {
		for _, a := range list {
			if host, _, err := splitAddr(a, false); err != nil || unspecified(host) {
				found.add(c, key, "write host:port of each, such as [\"10.0.0.2:9060\"]", "%q is not a host:port that can be reached", a)
			}
		}
	}
}

func (c *Config) checkTiming(found *problems) {
	r := c.Raft
	if r.Heartbeat.D() < minHeartbeat || r.Heartbeat.D() > time.Minute {
		found.add(c, "raft.heartbeat", "300ms suits most machines", "must be 100ms to 1m: shorter ones make a busy machine elect without need")
	}
	if r.Election < r.Heartbeat || r.Election.D() > time.Minute {
		found.add(c, "raft.election", "set it as long as raft.heartbeat", "must be raft.heartbeat (%s) to 1m", r.Heartbeat)
	}
	if r.SnapshotThreshold < 16 || r.TrailingLogs < 16 || r.TrailingLogs > 1<<20 || r.SnapshotThreshold > 1<<20 {
		found.add(c, "raft.snapshot_threshold", "leave raft.snapshot_threshold and raft.trailing_logs out", "it and raft.trailing_logs must be 16 to 1048576")
	}
	if n := c.Lease.Slots; n < 1 || n > maxLeaseSlots {
		found.add(c, "lease.slots", "4 suits raft timeouts of 300ms", "must be 1 to %d", maxLeaseSlots)
	} else if least := r.MinSlots(); n < least {
		hint := fmt.Sprintf("set lease.slots = %d, or shorten raft.election", least)
		if least > maxLeaseSlots {
			hint = "shorten raft.heartbeat and raft.election"
		}
		found.add(c, "lease.slots", hint, "%d slots are %s; an election (up to %s with raft.election = %s) and 2 slots take %s, so an election could move production",
			n, time.Duration(n)*slot, r.WorstElection().Round(time.Millisecond), r.Election, (r.WorstElection() + 2*slot).Round(time.Millisecond))
	}
}

func (c *Config) checkTLS(found *problems) {
	if c.Plain() {
		return
	}
	for key, file := range map[string]string{"tls.ca": c.TLS.CA, "tls.cert": c.TLS.Cert, "tls.key": c.TLS.Key, "tls.gossip_key": c.TLS.GossipKey} {
		c.readable(found, key, file, key == "tls.key" || key == "tls.gossip_key")
	}
	if _, err := os.Stat(c.TLS.CAKey); err == nil || c.set["tls.ca_key"] {
		c.readable(found, "tls.ca_key", c.TLS.CAKey, true)
	}
	for _, h := range c.TLS.Hosts {
		if err := security.CheckHost(h); err != nil {
			found.add(c, "tls.hosts", "write host names or addresses, without ports and without wildcards", "%q is not a host", h)
		}
	}
}

func (c *Config) checkNode(found *problems) {
	n := c.Node
	if _, err := exec.LookPath(n.Path); err != nil {
		found.add(c, "node.path", "name the nodeos program with its full path", "cannot be started: %v", err)
	}
	c.oneOf(found, "node.fence", n.Fence, "gate", "pause")
	if n.ConfigTemplate != "" {
		c.readable(found, "node.config_template", n.ConfigTemplate, false)
	}
	if n.StopTimeout.D() < time.Second {
		found.add(c, "node.stop_timeout", "2m lets nodeos write its state to disk; killing it leaves the database dirty", "must be 1s or more")
	}
	if n.CrashBudget < 1 {
		found.add(c, "node.crash_budget", "5 suits most", "must be 1 or more")
	}
	if n.CrashWindow.D() < time.Second {
		found.add(c, "node.crash_window", "10m suits most", "must be 1s or more")
	}
	if err := node.CheckArgs(n.Args); err != nil && !slices.ContainsFunc(n.Args, secondSigner) {
		found.add(c, "node.args", "roundtable sets this one itself: there is a key for it here, or put it into node.config_template", "%v", err)
	}
	if n.Fence == "gate" && slices.ContainsFunc(n.Args, secondSigner) {
		found.add(c, "node.args", "put the key into signer.key_file, or set node.fence = \"pause\"", "names a signature-provider: with the gate there is no other signer than the gate")
	}
	if s := c.Socket(); n.Fence == "gate" && len(s) > maxSocketPath {
		found.add(c, "manager.home", "choose a shorter home", "the gate's socket %s has %d characters, the system's limit is %d", s, len(s), maxSocketPath)
	}
}

// secondSigner finds a signature-provider that is not for finalizer votes: BLS keys can only be given to nodeos itself.
func secondSigner(arg string) bool {
	return strings.Contains(arg, "signature-provider") && !strings.Contains(arg, "PUB_BLS_") || strings.Contains(arg, "=KEY:") && !strings.Contains(arg, "PUB_BLS_")
}

func (c *Config) checkSigner(found *problems) {
	s := c.Signer
	c.oneOf(found, "signer.kind", s.Kind, "file", "keosd")
	if c.Node.Fence != "gate" {
		return
	}
	if s.Timeout.D() < 10*time.Millisecond || s.Timeout.D() > maxSignerTimeout {
		found.add(c, "signer.timeout", "300ms suits most: nodeos waits 400 ms for a signature, so a later one is of no use", "must be 10ms to %s", maxSignerTimeout)
	}
	switch s.Kind {
	case "file":
		c.readable(found, "signer.key_file", s.KeyFile, true)
	case "keosd":
		u, err := url.Parse(s.URL)
		switch {
		case err != nil || s.URL == "":
			found.add(c, "signer.url", "write http://host:port, or unix:///path/to/keosd.sock", "is not a URL")
		case u.Scheme == "unix" && len(u.Path) > maxSocketPath:
			found.add(c, "signer.url", "move the socket to a shorter path", "the socket's path has %d characters, the system's limit is %d", len(u.Path), maxSocketPath)
		case u.Scheme == "unix" && strings.HasPrefix(u.Path, "/") && u.Host == "":
		case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
			if u.Scheme == "http" && !loopback(u.Hostname()) {
				found.add(c, "signer.url", "use https, or a keosd on this machine", "plain HTTP to another machine lets anybody between ask for signatures")
			}
		default:
			found.add(c, "signer.url", "write http://host:port, or unix:///path/to/keosd.sock", "is not the URL of a keosd")
		}
	}
}

func (c *Config) checkUpgrade(found *problems) {
	u := c.Upgrade
	wrong := func(key string, err error) {
		if err != nil {
			found.add(c, key, versions.Hint(err), "%v", err)
		}
	}
	if u.Source != "" {
		wrong("upgrade.source", versions.CheckSource(u.Source))
	} else if u.AutoInstall {
		found.add(c, "upgrade.source", "name where versions come from, such as github.com/OWNER/REPO, or take upgrade.auto_install out", "is missing: with upgrade.auto_install there is nothing to fetch from")
	}
	wrong("upgrade.asset", versions.CheckAsset(u.Asset))
	if u.Binary == "" {
		found.add(c, "upgrade.binary", "nodeos suits most", "is missing")
	}
	if u.TokenFile != "" {
		c.readable(found, "upgrade.token_file", u.TokenFile, true)
	}
	for _, tag := range slices.Sorted(maps.Keys(u.Folders)) { // whether it is there matters when it is wanted
		wrong("upgrade.folders", versions.CheckTag(tag))
		switch {
		case tag == versions.Genesis:
			found.add(c, "upgrade.folders", "set node.path: that is what it runs", "%s is the version that is there from the start", tag)
		case u.Folders[tag] == "":
			found.add(c, "upgrade.folders", "name the folder that has it", "%q has no folder", tag)
		}
	}
	c.between(found, "upgrade.connection_retries", u.ConnectionRetries, 0, 1000, "5 suits most")
	c.between(found, "upgrade.keep", u.Keep, 0, 1000, "3 suits most")
	if u.Hook != "" {
		c.executable(found, "upgrade.hook", u.Hook)
	}
	if u.HookTimeout.D() < time.Second || u.HookTimeout.D() > maxStep {
		found.add(c, "upgrade.hook_timeout", "5m suits most", "must be 1s to %s", maxStep)
	}
	if d := u.StepTimeout; d.D() > maxStep || d <= c.Node.StopTimeout {
		found.add(c, "upgrade.step_timeout", "leave it out: it is 10m, or 5m more than node.stop_timeout", "must be more than node.stop_timeout (%s), and at most %s", c.Node.StopTimeout, maxStep)
	}
	c.oneOf(found, "upgrade.rollout", u.Rollout, RolloutAuto, RolloutManual)
}

func (c *Config) between(found *problems, key string, n, least, most int, hint string) {
	if n < least || n > most {
		found.add(c, key, hint, "must be %d to %d", least, most)
	}
}

// executable checks that a file is there that can be run.
func (c *Config) executable(found *problems, key, file string) {
	if _, err := exec.LookPath(file); err != nil {
		found.add(c, key, "it must be a program, or a script with a #! line, that the user who runs roundtable may run: chmod +x", "cannot be run: %v", err)
	}
}

// readable checks that a file is there, and for one with a key in it that nobody else can read it.
func (c *Config) readable(found *problems, key, file string, private bool) {
	info, err := os.Stat(file) // first: opening a pipe would wait for a writer
	if err == nil && info.Mode().IsRegular() {
		var f *os.File
		if f, err = os.Open(file); err == nil {
			f.Close()
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(key, "tls."):
		found.add(c, key, "roundtable init makes it; or put the file there, or name another one", "%v", err)
	case errors.Is(err, fs.ErrNotExist):
		found.add(c, key, "put the file there, or name another one", "%v", err)
	case err != nil:
		found.add(c, key, "it must be readable by the user that runs roundtable", "%v", err)
	case !info.Mode().IsRegular():
		found.add(c, key, "name a file", "%s is not a file", file)
	case private && info.Mode().Perm()&0o077 != 0:
		found.add(c, key, "chmod 600 "+file, "others may read %s (mode %04o)", file, info.Mode().Perm())
	}
}

func (c *Config) oneOf(found *problems, key, value string, known ...string) {
	if !slices.Contains(known, value) {
		found.add(c, key, "write one of "+strings.Join(known, ", "), "is not known")
	}
}

// splitAddr checks a host:port. Port 0 (any free one) only where it makes sense.
func splitAddr(addr string, zero bool) (host, port string, err error) {
	host, port, err = net.SplitHostPort(addr)
	if err != nil {
		return "", "", errors.New("is not a host:port")
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 0 || n > 65535 || (n == 0 && !zero) {
		return "", "", fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	return host, port, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func unspecified(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}
