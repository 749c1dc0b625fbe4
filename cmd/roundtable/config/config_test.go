package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// good is a sandbox configuration that only wants its files; %s is appended.
const good = `
sandbox = true
[manager]
id = "a"
[cluster]
name = "demo"
[node]
path = "/bin/true"
producers = ["alice"]
`

// repository is one that wants nothing; what is appended stands in it.
const repository = "[backup.repositories.main]\nurl = \"file:///var/backups\"\n"

// home makes a folder with a config.toml and a key file.
func home(t testing.TB, text string) string {
	t.Helper()
	dir := t.TempDir()
	if len(dir) > 80 { // a long test name must not break the limit of socket paths
		short, err := os.MkdirTemp("", "rt")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(short) })
		dir = short
	}
	write(t, filepath.Join(dir, "config.toml"), text, 0o644)
	write(t, filepath.Join(dir, "keys"), "not read here", 0o600)
	return dir
}

func write(t testing.TB, file, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

func TestLoadFillsIn(t *testing.T) {
	dir := home(t, good)
	c, err := Load(filepath.Join(dir, "config.toml"), []string{"ROUNDTABLE_MANAGER_PRIORITY=3", "ROUNDTABLE_NODE_PEERS=x:1, y:2", `ROUNDTABLE_NODE_ENV={A="b=c"}`, "PATH=/bin",
		"ROUNDTABLE_SERVER=http://x", "ROUNDTABLE_NODE_SERVICE_HOST=10.0.0.1", "ROUNDTABLE_NODE_PORT_8888_TCP_ADDR=10.0.0.1"},
		map[string]string{"manager.priority": "4", "lease.slots": "6", "raft.heartbeat": "250ms"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Manager.Priority != 4 || c.Lease.Slots != 6 || c.Raft.Heartbeat.D() != 250*time.Millisecond {
		t.Errorf("flags must win over the environment: %+v", c)
	}
	if len(c.Node.Peers) != 2 || c.Node.Peers[1] != "y:2" || c.Node.Env["A"] != "b=c" {
		t.Errorf("environment: %+v", c.Node)
	}
	if c.Manager.Home != dir || c.Node.DataDir != filepath.Join(dir, "node", "data") || c.Signer.KeyFile != filepath.Join(dir, "keys") {
		t.Errorf("paths: %+v", c)
	}
	if len(c.Cluster.Producers) != 1 || c.Cluster.Producers[0] != "alice" {
		t.Errorf("producers: %q", c.Cluster.Producers)
	}
	if c.APIURL() != "http://127.0.0.1:9080" || c.RaftAddr() != "127.0.0.1:9070" || c.Socket() != filepath.Join(dir, "gate.sock") {
		t.Errorf("addresses: %s %s %s", c.APIURL(), c.RaftAddr(), c.Socket())
	}
}

// TestSecured is a configuration for several machines: TLS files, a wildcard address, an advertised name.
func TestSecured(t *testing.T) {
	dir := home(t, `
[manager]
id = "a"
api = "0.0.0.0:9080"
raft = "10.0.0.1:9070"
gossip = "[::]:9060"
advertise = "a.example.org"
join = ["b.example.org:9060"]
[cluster]
name = "demo"
producers = ["alice"]
[node]
path = "/bin/true"
p2p = "0.0.0.0:9876"
[tls]
hosts = ["bp.example.org", "127.0.0.1", "a.example.org"]
`)
	if err := os.Mkdir(filepath.Join(dir, "tls"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"ca.pem", "cert.pem", "key.pem", "gossip.key"} {
		write(t, filepath.Join(dir, "tls", f), "x", 0o600)
	}
	c, err := Load(filepath.Join(dir, "config.toml"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.APIURL() != "https://a.example.org:9080" || c.GossipAddr() != "a.example.org:9060" || c.P2PAddr() != "a.example.org:9876" || c.Plain() {
		t.Errorf("addresses: %s %s %s", c.APIURL(), c.GossipAddr(), c.P2PAddr())
	}
	if want := []string{"a.example.org", "bp.example.org"}; !slices.Equal(c.Hosts(), want) || !c.TLS.Renew || c.TLS.CAKey != filepath.Join(dir, "tls", "ca.key") {
		t.Errorf("hosts %q, renew %v, the CA's key %s", c.Hosts(), c.TLS.Renew, c.TLS.CAKey)
	}
	write(t, filepath.Join(dir, "tls", "ca.key"), "x", 0o640)
	_, err = Load(filepath.Join(dir, "config.toml"), nil, nil)
	wantProblem(t, err, "tls.ca_key", "others may read", "chmod 600")
	_, err = Load(filepath.Join(dir, "config.toml"), nil, map[string]string{"tls.ca_key": "elsewhere"})
	wantProblem(t, err, "tls.ca_key", "no such file", "roundtable init")
	if err := os.Remove(filepath.Join(dir, "tls", "ca.key")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "tls", "key.pem"), "x", 0o644)
	_, err = Load(filepath.Join(dir, "config.toml"), nil, nil)
	wantProblem(t, err, "tls.key", "others may read", "chmod 600")
}

func TestBadInput(t *testing.T) {
	long := "/tmp/" + strings.Repeat("x", 110)
	cases := []struct {
		name, text         string // text is appended to good, or replaces it where it starts with "!"
		env                []string
		flags              map[string]string
		key, message, hint string
	}{
		{name: "unknown key", text: "[lease]\nslotz = 4", key: "lease.slotz", message: "unknown key", hint: "did you mean lease.slots?"},
		{name: "wrong section", text: "[raft]\npriority = 4", key: "raft.priority", message: "unknown key", hint: "did you mean manager.priority?"},
		{name: "unknown section", text: "[somethingelse]\nx = 4", key: "somethingelse", message: "unknown key", hint: "the sections are"},
		{name: "section mistyped", text: "[nodes]\nx = 4", key: "nodes", message: "unknown key", hint: "[node]"},
		{name: "section as key", text: "!lease = 4", key: "lease", message: "is a section", hint: "[lease]"},
		{name: "dotted name", text: "!\"lease.slots\" = 4", key: "lease.slots", message: "unknown key", hint: "lease.slots"},
		{name: "syntax", text: "[lease\nslots = 4", message: "expected", hint: "TOML"},
		{name: "not a number", text: "[lease]\nslots = \"four\"", key: "lease.slots", message: "whole number", hint: "documentation"},
		{name: "not a duration", text: "[raft]\nheartbeat = 300", key: "raft.heartbeat", message: "must be a duration", hint: "documentation"},
		{name: "not a list", text: "!node.producers = \"alice\"", key: "node.producers", message: "list of texts", hint: "documentation"},
		{name: "variable unknown", env: []string{"ROUNDTABLE_MANAGER_IDD=x"}, key: "ROUNDTABLE_MANAGER_IDD", message: "unknown key", hint: "ROUNDTABLE_MANAGER_ID"},
		{name: "variable bad", env: []string{"ROUNDTABLE_LEASE_SLOTS=x"}, key: "lease.slots", message: "whole number", hint: "documentation"},
		{name: "flag unknown", flags: map[string]string{"lease.slot": "5"}, key: "lease.slot", message: "unknown key", hint: "lease.slots"},
		{name: "lease too short", text: "[lease]\nslots = 3", key: "lease.slots", message: "an election could move production", hint: "lease.slots = 4"},
		{name: "election too long", text: "[raft]\nheartbeat = \"1s\"\nelection = \"1s\"", key: "lease.slots", message: "an election could move production", hint: "lease.slots = 8"},
		{name: "election far too long", text: "[raft]\nheartbeat = \"1s\"\nelection = \"9s\"", key: "lease.slots", message: "an election could move production", hint: "shorten raft"},
		{name: "lease too long", text: "[lease]\nslots = 15", key: "lease.slots", message: "must be 1 to 14", hint: "4 suits"},
		{name: "heartbeat too short", text: "[raft]\nheartbeat = \"99ms\"\nelection = \"99ms\"", key: "raft.heartbeat", message: "must be 100ms", hint: "300ms"},
		{name: "election below heartbeat", text: "[raft]\nelection = \"200ms\"", key: "raft.election", message: "raft.heartbeat", hint: "as long as"},
		{name: "no id", flags: map[string]string{"manager.id": ""}, key: "manager.id", message: "is not an id", hint: "its own id"},
		{name: "no cluster", flags: map[string]string{"cluster.name": ""}, key: "cluster.name", message: "is not a name", hint: "same on all"},
		{name: "bad account", flags: map[string]string{"node.producers": "Alice"}, key: "node.producers", message: "not an account name", hint: "a-z, 1-5"},
		{name: "account twice", flags: map[string]string{"node.producers": "alice,alice"}, key: "node.producers", message: "twice", hint: "once"},
		{name: "nobody", flags: map[string]string{"node.producers": ""}, key: "cluster.producers", message: "names nobody", hint: "producer accounts"},
		{name: "other producers", flags: map[string]string{"cluster.producers": "bob"}, key: "node.producers", message: "none of cluster.producers", hint: "leave"},
		{name: "no port", flags: map[string]string{"manager.api": "127.0.0.1"}, key: "manager.api", message: "is not a host:port", hint: "host:port"},
		{name: "bad port", flags: map[string]string{"manager.raft": "127.0.0.1:99999"}, key: "manager.raft", message: "1 to 65535", hint: "host:port"},
		{name: "same port", flags: map[string]string{"manager.raft": "127.0.0.1:9080"}, key: "manager.raft", message: "has the port of manager.api", hint: "own port"},
		{name: "sandbox in the open", flags: map[string]string{"manager.raft": "0.0.0.0:9070"}, key: "manager.raft", message: "stays on loopback", hint: "127.0.0.1"},
		{name: "plain in the open", flags: map[string]string{"manager.raft": "10.0.0.1:9070", "sandbox": "false", "tls.off": "true"}, key: "manager.raft", message: "without TLS", hint: "127.0.0.1"},
		{name: "nodeos' API in the open", flags: map[string]string{"node.http": "0.0.0.0:8888", "sandbox": "false", "tls.off": "true"}, key: "node.http", message: "must not be reachable", hint: "127.0.0.1"},
		{name: "nowhere to be reached", flags: map[string]string{"node.p2p": "0.0.0.0:9876", "sandbox": "false", "tls.off": "true"}, key: "node.p2p", message: "every address", hint: "manager.advertise"},
		{name: "advertise with a port", flags: map[string]string{"manager.advertise": "x:1"}, key: "manager.advertise", message: "is not a host", hint: "without a port"},
		{name: "bad join", flags: map[string]string{"manager.join": "10.0.0.2"}, key: "manager.join", message: "not a host:port", hint: "host:port"},
		{name: "advertise half an address", flags: map[string]string{"manager.advertise": "10.0.0"}, key: "manager.advertise", message: "is not a host", hint: "without a port"},
		{name: "a wildcard", flags: map[string]string{"sandbox": "false", "tls.hosts": "*.example.org"}, key: "tls.hosts", message: "is not a host", hint: "without wildcards"},
		{name: "no TLS files", flags: map[string]string{"sandbox": "false"}, key: "tls.ca", message: "no such file", hint: "put the file there"},
		{name: "no nodeos", flags: map[string]string{"node.path": "/nowhere/nodeos"}, key: "node.path", message: "cannot be started", hint: "full path"},
		{name: "bad fence", flags: map[string]string{"node.fence": "wall"}, key: "node.fence", message: "not known", hint: "gate, pause"},
		{name: "bad level", flags: map[string]string{"manager.log_level": "loud"}, key: "manager.log_level", message: "not known", hint: "debug, info"},
		{name: "stops too fast", flags: map[string]string{"node.stop_timeout": "1ms"}, key: "node.stop_timeout", message: "1s or more", hint: "2m"},
		{name: "no crashes", flags: map[string]string{"node.crash_budget": "0"}, key: "node.crash_budget", message: "1 or more", hint: "5"},
		{name: "second signer", flags: map[string]string{"node.args": `["--signature-provider=EOS6=KEY:5Ksecret"]`}, key: "node.args", message: "signature-provider", hint: "signer.key_file"},
		{name: "long home", flags: map[string]string{"manager.home": long}, key: "manager.home", message: "the system's limit is 107", hint: "shorter home"},
		{name: "long signer socket", flags: map[string]string{"signer.kind": "keosd", "signer.url": "unix://" + long}, key: "signer.url", message: "limit is 107", hint: "shorter"},
		{name: "no signer", flags: map[string]string{"signer.kind": "keosd"}, key: "signer.url", message: "is not a URL", hint: "unix:///"},
		{name: "open signer", flags: map[string]string{"signer.kind": "keosd", "signer.url": "http://u:secret@10.0.0.1:8900"}, key: "signer.url", message: "plain HTTP", hint: "https"},
		{name: "bad signer", flags: map[string]string{"signer.kind": "hsm"}, key: "signer.kind", message: "not known", hint: "file, keosd"},
		{name: "no key file", flags: map[string]string{"signer.key_file": "elsewhere"}, key: "signer.key_file", message: "no such file", hint: "put the file there"},
		{name: "key file a folder", flags: map[string]string{"signer.key_file": "."}, key: "signer.key_file", message: "is not a file", hint: "name a file"},
		{name: "signer too slow", flags: map[string]string{"signer.timeout": "351ms"}, key: "signer.timeout", message: "10ms to 350ms", hint: "nodeos waits 400 ms"},
		{name: "witness with a node", flags: map[string]string{"manager.witness": "true"}, key: "node", message: "has no node", hint: "[node]"},
		{name: "an argument of ours", flags: map[string]string{"node.args": "--http-server-address=0.0.0.0:1"}, key: "node.args", message: "--http-server-address is refused", hint: "node.config_template"},
		{name: "nowhere to fetch from", flags: map[string]string{"upgrade.auto_install": "true"}, key: "upgrade.source", message: "is missing", hint: "github.com/OWNER/REPO"},
		{name: "a source of no kind", flags: map[string]string{"upgrade.source": "ftp://u:secret@h/x"}, key: "upgrade.source", message: "of no kind", hint: "file:///"},
		{name: "a placeholder", flags: map[string]string{"upgrade.source": "https://h/{version}/{cpu}.deb"}, key: "upgrade.source", message: "placeholder", hint: "{arch}"},
		{name: "a bad pattern", flags: map[string]string{"upgrade.asset": "nodeos_[x"}, key: "upgrade.asset", message: "is no pattern", hint: "{arch}"},
		{name: "no binary", flags: map[string]string{"upgrade.binary": ""}, key: "upgrade.binary", message: "is missing", hint: "nodeos"},
		{name: "no token", flags: map[string]string{"upgrade.token_file": "elsewhere"}, key: "upgrade.token_file", message: "no such file", hint: "put the file there"},
		{name: "a bad tag", text: "[upgrade.folders]\n\"../x\" = \"/opt/x\"", key: "upgrade.folders", message: "is no tag", hint: "v1.2.2"},
		{name: "genesis elsewhere", text: "[upgrade.folders]\ngenesis = \"/opt/x\"", key: "upgrade.folders", message: "from the start", hint: "node.path"},
		{name: "a tag without a folder", text: "[upgrade.folders]\n\"v1.2.3\" = \"\"", key: "upgrade.folders", message: "has no folder", hint: "name the folder"},
		{name: "fewer than none", flags: map[string]string{"upgrade.keep": "-1"}, key: "upgrade.keep", message: "0 to 1000", hint: "3 suits"},
		{name: "endless retries", flags: map[string]string{"upgrade.connection_retries": "1001"}, key: "upgrade.connection_retries", message: "0 to 1000", hint: "5 suits"},
		{name: "no hook", flags: map[string]string{"upgrade.hook": "hooks/none"}, key: "upgrade.hook", message: "cannot be run", hint: "chmod +x"},
		{name: "a hook that is no program", flags: map[string]string{"upgrade.hook": "keys"}, key: "upgrade.hook", message: "cannot be run", hint: "chmod +x"},
		{name: "no time for the hook", flags: map[string]string{"upgrade.hook_timeout": "10ms"}, key: "upgrade.hook_timeout", message: "1s to 1h", hint: "5m"},
		{name: "no time to stop", flags: map[string]string{"upgrade.step_timeout": "2m"}, key: "upgrade.step_timeout", message: "more than node.stop_timeout (2m0s)", hint: "leave it out"},
		{name: "too long a step", flags: map[string]string{"upgrade.step_timeout": "61m"}, key: "upgrade.step_timeout", message: "at most 1h", hint: "leave it out"},
		{name: "a rollout of no kind", flags: map[string]string{"upgrade.rollout": "never"}, key: "upgrade.rollout", message: "not known", hint: "auto, manual"},
		{name: "a repository's key", text: repository + "keep_lats = 3", key: "backup.repositories.main.keep_lats", message: "unknown key", hint: "keep_last"},
		{name: "a repository's value", text: repository + "keep_last = \"3\"", key: "backup.repositories.main.keep_last", message: "whole number", hint: "documentation"},
		{name: "a dotted key", text: repository + "\"url.x\" = 1", key: "backup.repositories.main.url.x", message: "unknown key", hint: "url"},
		{name: "a repository that is none", text: "[backup.repositories]\nurl = \"file:///x\"", key: "backup.repositories.url", message: "must be a section", hint: "[backup.repositories.NAME]"},
		{name: "no repositories", text: "[backup]\nrepositories = 3", key: "backup.repositories", message: "must be a table", hint: "NAME"},
		{name: "a repository's name", text: "[backup.repositories.\"../x\"]\nurl = \"file:///x\"", key: "backup.repositories.../x", message: "is not a name", hint: "small letters"},
		{name: "no URL", text: "[backup.repositories.main]", key: "backup.repositories.main.url", message: "is missing", hint: "s3://"},
		{name: "a URL of no kind", text: "[backup.repositories.main]\nurl = \"s4://u:secret@h/x\"", key: "backup.repositories.main.url", message: "of no kind", hint: "s3://"},
		{name: "a URL that is a list", text: "[backup.repositories.main]\nurl = [\"s4://u:secret@h/x\"]", key: "backup.repositories.main.url", message: "must be a text", hint: "documentation"},
		{name: "half a path", text: "[backup.repositories.main]\nurl = \"file://x/y\"", key: "backup.repositories.main.url", message: "names no folder", hint: "full path"},
		{name: "no bucket", text: "[backup.repositories.main]\nurl = \"s3:///y?x=secret\"", key: "backup.repositories.main.url", message: "names no bucket", hint: "bucket"},
		{name: "credentials in a URL", text: "[backup.repositories.main]\nurl = \"s3://u:secret@bucket/x?region=y\"", key: "backup.repositories.main.url", message: "the URL of the store is not right", hint: "file of credentials"},
		{name: "a mistyped parameter", text: "[backup.repositories.main]\nurl = \"s3://bucket/x?regoin=secret\"", key: "backup.repositories.main.url", message: "no parameter", hint: "s3://bucket"},
		{name: "a parameter of another store", text: "[backup.repositories.main]\nurl = \"gs://bucket/x?region=y\"", key: "backup.repositories.main.url", message: "no parameter", hint: "gs://bucket"},
		{name: "a folder with a region", text: "[backup.repositories.main]\nurl = \"file:///x?region=y\"", key: "backup.repositories.main.url", message: "no parameter", hint: "file:///folder"},
		{name: "all of the disk", text: "[backup.repositories.main]\nurl = \"file:///\"", key: "backup.repositories.main.url", message: "three slashes", hint: "file:///folder"},
		{name: "an endpoint that is none", text: "[backup.repositories.main]\nurl = \"s3://bucket/x?region=y&endpoint=host:9000\"", key: "backup.repositories.main.url", message: "endpoint", hint: "endpoint="},
		{name: "a password in an endpoint", text: "[backup.repositories.main]\nurl = \"s3://bucket/x?endpoint=http://u:secret@host\"", key: "backup.repositories.main.url", message: "credentials", hint: "endpoint="},
		{name: "a switch that is none", text: "[backup.repositories.main]\nurl = \"s3://bucket/x?s3ForcePathStyle=perhaps\"", key: "backup.repositories.main.url", message: "true or false", hint: "s3://bucket"},
		{name: "parts of a path", text: "[backup.repositories.main]\nurl = \"gs://bucket/a/../b\"", key: "backup.repositories.main.url", message: "empty, . or .. parts", hint: "gs://bucket"},
		{name: "what is lost", text: "[backup.repositories.main]\nurl = \"file:///backups#1\"", key: "backup.repositories.main.url", message: "behind #", hint: "file:///folder"},
		{name: "recipients alone", text: repository + "recipients = [\"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\"]", key: "backup.repositories.main.recipients", message: "without a key", hint: "encryption_key_file"},
		{name: "a recipient that is none", text: repository + "recipients = [\"age1x\"]", key: "backup.repositories.main.recipients", message: "no age recipient", hint: "age1"},
		{name: "a size", text: repository + "upload_limit = \"20 apples\"", key: "backup.repositories.main.upload_limit", message: "must be a size", hint: "documentation"},
		{name: "a rule", text: repository + "keep_daily = -1", key: "backup.repositories.main.keep_daily", message: "0 to 10000", hint: "leave it out"},
		{name: "another repository", text: repository + "[backup]\nrepository = \"mian\"", key: "backup.repository", message: "no such repository", hint: "main"},
		{name: "repositories as a variable", env: []string{"ROUNDTABLE_BACKUP_REPOSITORIES=secret"}, key: "backup.repositories", message: "as in TOML", hint: "url ="},
		{name: "a variable of a repository", env: []string{"ROUNDTABLE_BACKUP_REPOSITORIES_MAIN_URL=x"}, key: "ROUNDTABLE_BACKUP_REPOSITORIES_MAIN_URL", message: "unknown key", hint: "ROUNDTABLE"},
		{name: "a flag of a repository", text: repository, flags: map[string]string{"backup.repositories.main.url": "x"}, key: "backup.repositories.main.url", message: "unknown key", hint: "as a whole"},
		{name: "too long a step of a backup", flags: map[string]string{"backup.step_limit": "25h"}, key: "backup.step_limit", message: "1m0s to 24h", hint: "6h"},
		{name: "restores by itself", flags: map[string]string{"backup.auto_restore": "true"}, key: "backup.auto_restore", message: "not known", hint: "last, first, off"},
		{name: "an id that is none", flags: map[string]string{"bootstrap.backup": "../x"}, key: "bootstrap.backup", message: "no id", hint: "backup list"},
		{name: "a backup from nowhere", flags: map[string]string{"bootstrap.backup": "x"}, key: "bootstrap.backup", message: "no repository", hint: "[backup.repositories.NAME]"},
		{name: "a snapshot from nowhere", flags: map[string]string{"bootstrap.latest": "true"}, key: "bootstrap.latest", message: "no repository", hint: "[backup.repositories.NAME]"},
		{name: "both named", text: repository + "[bootstrap]\nbackup = \"a\"\nsnapshot = \"b\"", key: "bootstrap.snapshot", message: "named, too", hint: "the one or the other"},
		{name: "an archive that is trusted", flags: map[string]string{"bootstrap.archive": "https://u:secret@h/x.tar.zst"}, key: "bootstrap.sha256", message: "is missing", hint: "SHA-256"},
		{name: "an archive of no kind", flags: map[string]string{"bootstrap.archive": "ftp://u:secret@h/x.tar.zst"}, key: "bootstrap.archive", message: "not a URL", hint: "https://"},
		{name: "a checksum of nothing", flags: map[string]string{"bootstrap.sha256": "12"}, key: "bootstrap.archive", message: "is missing", hint: "name the archive"},
		{name: "a checksum that is none", flags: map[string]string{"bootstrap.archive": "x", "bootstrap.sha256": "12"}, key: "bootstrap.sha256", message: "no SHA-256", hint: "sha256sum"},
		{name: "few logs", flags: map[string]string{"raft.trailing_logs": "1"}, key: "raft.snapshot_threshold", message: "16 to", hint: "leave"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			text := good + tc.text
			if rest, whole := strings.CutPrefix(tc.text, "!"); whole {
				text = rest
			}
			_, err := Load(filepath.Join(home(t, text), "config.toml"), tc.env, tc.flags)
			wantProblem(t, err, tc.key, tc.message, tc.hint)
			if strings.Contains(fmt.Sprint(err), "secret") {
				t.Errorf("a secret is printed: %v", err)
			}
		})
	}
	t.Run("loose key file", func(t *testing.T) {
		dir := home(t, good)
		write(t, filepath.Join(dir, "keys"), "x", 0o640)
		_, err := Load(filepath.Join(dir, "config.toml"), nil, nil)
		wantProblem(t, err, "signer.key_file", "others may read", "chmod 600")
	})
	t.Run("loose token file", func(t *testing.T) {
		dir := home(t, good)
		write(t, filepath.Join(dir, "token"), "x", 0o644)
		_, err := Load(filepath.Join(dir, "config.toml"), nil, map[string]string{"upgrade.token_file": "token"})
		wantProblem(t, err, "upgrade.token_file", "others may read", "chmod 600")
	})
	t.Run("no file", func(t *testing.T) {
		_, err := Load(filepath.Join(t.TempDir(), "config.toml"), nil, nil)
		wantProblem(t, err, "", "no such file", "--home")
	})
	t.Run("a witness", func(t *testing.T) {
		dir := home(t, "sandbox = true\n[manager]\nid = \"w\"\nwitness = true\n[cluster]\nname = \"demo\"\nproducers = [\"alice\"]\n")
		if _, err := Load(filepath.Join(dir, "config.toml"), nil, nil); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("all at once", func(t *testing.T) {
		_, err := Load(filepath.Join(home(t, good), "config.toml"), nil, map[string]string{"lease.slots": "3", "node.fence": "x", "manager.id": ""})
		if n := len(Problems(err)); n != 3 {
			t.Fatalf("%d problems: %v", n, err)
		}
	})
}

// wantProblem looks for a problem with a key; each problem must name its file and carry a hint.
func wantProblem(t *testing.T, err error, key, message, hint string) {
	t.Helper()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, p := range Problems(err) {
		if p.File == "" || p.Hint == "" {
			t.Errorf("without file or hint: %+v", p)
		}
		if p.Key == key && strings.Contains(p.Message, message) && strings.Contains(p.Hint, hint) {
			return
		}
	}
	t.Fatalf("no problem with %q, %q, hint %q in:\n%v", key, message, hint, err)
}

// TestUpgrade: the section as an operator writes it.
func TestUpgrade(t *testing.T) {
	dir := home(t, good+`stop_timeout = "20m"
[upgrade]
auto_install = true
source = "github.com/AntelopeIO/spring"
asset = "antelope-spring_{version}_{arch}.deb"
token_file = "token"
folders = { "v1.2.3" = "/opt/nodeos-1.2.3", "v1.2.4" = "builds/1.2.4" }
hook = "hooks/before"
`)
	write(t, filepath.Join(dir, "token"), "x", 0o600)
	if err := os.Mkdir(filepath.Join(dir, "hooks"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "hooks", "before"), "#!/bin/sh\n", 0o700)
	c, err := Load(filepath.Join(dir, "config.toml"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default().Upgrade
	want.AutoInstall, want.Source, want.Asset = true, "github.com/AntelopeIO/spring", "antelope-spring_{version}_{arch}.deb"
	want.TokenFile, want.Hook = filepath.Join(dir, "token"), filepath.Join(dir, "hooks", "before")
	want.Folders = map[string]string{"v1.2.3": "/opt/nodeos-1.2.3", "v1.2.4": filepath.Join(dir, "builds", "1.2.4")}
	want.StepTimeout = Duration(25 * time.Minute) // a node that may take long to stop has time to come back
	if d := cmp.Diff(want, c.Upgrade); d != "" {
		t.Error(d)
	}
	for stop, step := range map[string]time.Duration{"2m": 10 * time.Minute, "59m": time.Hour} {
		c, err := Load(filepath.Join(dir, "config.toml"), nil, map[string]string{"node.stop_timeout": stop})
		if err != nil || c.Upgrade.StepTimeout.D() != step {
			t.Errorf("stop_timeout %s: %v %v, want %v", stop, c.Upgrade.StepTimeout, err, step)
		}
	}
}

func TestLogValueShowsNoSecret(t *testing.T) {
	c := Default()
	c.Node.Args = []string{"--x=KEY:5Ksecret"}
	c.Node.Env = map[string]string{"TOKEN": "secret"}
	c.Signer.URL = "http://u:secret@127.0.0.1:8900"
	if s := c.LogValue().String(); strings.Contains(s, "secret") {
		t.Fatal(s)
	}
}

// FuzzParse: whatever stands in the file or the environment, there is an answer and no panic, and every problem is named.
func FuzzParse(f *testing.F) {
	f.Add(good, "ROUNDTABLE_LEASE_SLOTS=5", "lease.slots", "6")
	f.Add("[lease]\nslotz = 4", "ROUNDTABLE_NODE_ENV={}", "node.env", "[1]")
	f.Add("manager = 1\nlease.slots = [[]]", "ROUNDTABLE_MANAGER_=", "", "")
	f.Add("[[node]]\nargs = 1979-05-27T07:32:00Z", "ROUNDTABLE_NODE_ARGS=[", "sandbox", "maybe")
	f.Fuzz(func(t *testing.T, text, env, key, value string) {
		c, err := Parse("config.toml", []byte(text), []string{env}, map[string]string{key: value})
		if err == nil {
			c.fill()
			_ = c.LogValue()
			return
		}
		var p *Problem
		if !errors.As(err, &p) {
			t.Fatalf("not a problem: %v", err)
		}
		for _, p := range Problems(err) {
			if p.File == "" || p.Message == "" || p.Hint == "" {
				t.Fatalf("%+v", p)
			}
		}
	})
}
