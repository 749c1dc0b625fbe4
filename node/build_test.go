package node

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	devPub  = "EOS6MRyAjQq8ud7hVNYcfnVPJqcVpscN5So8BhtHuGYqET5GDW5CV"
	devPriv = "5KQwrPbwdL6PhXujxW37FSSQZ1JiwsST4cqQzDeyXtP79zkvFD3"
)

func good() Settings {
	return Settings{
		Template: `# the operator's file
http-server-address = 0.0.0.0:8888   # replaced
p2p-listen-endpoint = 0.0.0.0:9876
chain-state-db-size-mb=256
plugin = eosio::chain_plugin
plugin = eosio::prometheus_plugin
p2p-peer-address = peer.example:9876
p2p-peer-address = 127.0.0.1:18902
signature-provider = PUB_BLS_abc=KEY:PVT_BLS_def
pause-on-startup = false
`,
		HTTP: "127.0.0.1:18801", P2P: "127.0.0.1:18901", AgentName: "a", Peers: []string{"127.0.0.1:18902", "127.0.0.1:18903"},
		Producers: []string{"prodaaaa", "prodbbbb"}, Keys: []string{devPub}, Socket: "/run/rt/gate.sock",
	}
}

func TestBuild(t *testing.T) {
	b := must[Built](t)(Build(good()))
	want := `# Written by roundtable before each start of nodeos; change the template instead.
chain-state-db-size-mb = 256
signature-provider = PUB_BLS_abc=KEY:PVT_BLS_def
http-server-address = 127.0.0.1:18801
pause-on-startup = true
keosd-provider-timeout = 400
p2p-listen-endpoint = 127.0.0.1:18901
agent-name = a
producer-name = prodaaaa
producer-name = prodbbbb
plugin = eosio::chain_plugin
plugin = eosio::prometheus_plugin
plugin = eosio::chain_api_plugin
plugin = eosio::producer_plugin
plugin = eosio::producer_api_plugin
plugin = eosio::net_plugin
plugin = eosio::net_api_plugin
plugin = eosio::db_size_api_plugin
p2p-peer-address = peer.example:9876
p2p-peer-address = 127.0.0.1:18902
p2p-peer-address = 127.0.0.1:18903
signature-provider = ` + devPub + `=KEOSD:unix:///run/rt/gate.sock
`
	if diff := cmp.Diff(want, string(b.Text)); diff != "" {
		t.Error(diff)
	}
	if !slices.Equal(b.BLSKeys, []string{"PUB_BLS_abc"}) || len(b.K1Keys) != 0 || len(b.Notes) != 3 {
		t.Errorf("%+v", b)
	}
}

func TestBuildUnderPauseKeepsKeys(t *testing.T) {
	s := good()
	s.Fence, s.Keys, s.Socket = FencePause, nil, ""
	s.Template += "signature-provider = " + devPub + "=KEY:" + devPriv + "\n"
	b := must[Built](t)(Build(s))
	if !strings.Contains(string(b.Text), devPub+"=KEY:"+devPriv) || !slices.Equal(b.K1Keys, []string{devPub}) || strings.Contains(string(b.Text), "KEOSD") {
		t.Error("the key must stay under fence pause")
	}
}

func TestBuildRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Settings)
		key    string
		text   string
	}{
		"k1 key in the template": {func(s *Settings) { s.Template += "signature-provider=" + devPub + "=KEY:" + devPriv }, "signature-provider", "[signer]"},
		"another keosd":          {func(s *Settings) { s.Template += "signature-provider=" + devPub + "=KEOSD:http://127.0.0.1:6666" }, "signature-provider", "past the gate"},
		"key and no public key":  {func(s *Settings) { s.Template += "signature-provider=KEY:" + devPriv }, "signature-provider", "malformed"},
		"key as public key":      {func(s *Settings) { s.Template += "signature-provider=" + devPriv + "=KEY:" + devPriv }, "signature-provider", "past the gate"},
		"template line":          {func(s *Settings) { s.Template += devPriv + "\n" }, "template", "line 11"},
		"key in args":            {func(s *Settings) { s.Args = []string{"--signature-provider", devPub + "=KEY:" + devPriv} }, "node.args", "--signature-provider"},
		"abbreviated args":       {func(s *Settings) { s.Args = []string{"--signature-prov=" + devPub + "=KEY:" + devPriv} }, "node.args", "--signature-prov"},
		"short producer arg":     {func(s *Settings) { s.Args = []string{"-peosio"} }, "node.args", "-p"},
		"own config file":        {func(s *Settings) { s.Args = []string{"--config", "/x.ini"} }, "node.args", "--config"},
		"logconf":                {func(s *Settings) { s.Args = []string{"-l", "x.json"} }, "node.args", "-l"},
		"deep mind":              {func(s *Settings) { s.Template += "deep-mind = true\n" }, "deep-mind", "observer"},
		"deep mind in args":      {func(s *Settings) { s.Args = []string{"--deep-mind"} }, "deep-mind", "observer"},
		"open http":              {func(s *Settings) { s.HTTP = "0.0.0.0:8888" }, "http-server-address", "loopback"},
		"named http":             {func(s *Settings) { s.HTTP = "node.example:8888" }, "http-server-address", "loopback"},
		"no http":                {func(s *Settings) { s.HTTP = "" }, "http-server-address", "host:port"},
		"bad port":               {func(s *Settings) { s.HTTP = "127.0.0.1:99999" }, "http-server-address", "port"},
		"open category":          {func(s *Settings) { s.Template += "http-category-address = producer_rw,0.0.0.0:8889\n" }, "http-category-address", "loopback"},
		"long socket":            {func(s *Settings) { s.Socket = "/" + strings.Repeat("x", 107) }, "socket", "107"},
		"relative socket":        {func(s *Settings) { s.Socket = "gate.sock" }, "socket", "absolute"},
		"odd socket":             {func(s *Settings) { s.Socket = "/run/#x" }, "socket", "character"},
		"no key":                 {func(s *Settings) { s.Keys = nil }, "signature-provider", "[signer]"},
		"pause without key":      {func(s *Settings) { s.Fence = FencePause }, "signature-provider", "KEY"},
		"unknown fence":          {func(s *Settings) { s.Fence = "wish" }, "fence", "gate or pause"},
		"endless signer":         {func(s *Settings) { s.SignerMillis = -1 }, "keosd-provider-timeout", "hang"},
		"unknown producer":       {func(s *Settings) { s.Producers = nil; s.Template += "producer-name = x\n" }, "producer-name", "node.producers"},
		"bls by keosd":           {func(s *Settings) { s.Template += "signature-provider = PUB_BLS_x=KEOSD:unix:///x\n" }, "signature-provider", "BLS"},
		"newline in a name":      {func(s *Settings) { s.AgentName = "a\nsignature-provider = x" }, "settings", "agent-name"},
	} {
		t.Run(name, func(t *testing.T) {
			s := good()
			c.change(&s)
			b, err := Build(s)
			var refused *ConfigError
			if !errors.As(err, &refused) || refused.Key != c.key || !strings.Contains(err.Error(), c.text) || b.Text != nil {
				t.Fatalf("%v", err)
			}
			if strings.Contains(err.Error(), "5KQwr") {
				t.Error("the error prints the key")
			}
		})
	}
}

func TestBuildAllowsLongestSocketAndObserver(t *testing.T) {
	s := good()
	s.Socket = "/" + strings.Repeat("x", 106)
	must[Built](t)(Build(s))
	s.Producers, s.Keys, s.Socket = nil, nil, ""
	b := must[Built](t)(Build(s))
	if strings.Contains(string(b.Text), "producer-name") || strings.Contains(string(b.Text), "KEOSD") {
		t.Error(string(b.Text))
	}
}

func FuzzParseINI(f *testing.F) {
	f.Add(good().Template)
	f.Add("[a]\nb=c\n[ ]\n=x\n#\nk==v # c\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ParseINI(text)
		if err != nil {
			return
		}
		out, err := writeINI(all)
		if err != nil {
			return // a value with a control character, e.g.
		}
		again, err := ParseINI(string(out))
		if err != nil || !slices.Equal(all, again) {
			t.Errorf("%q: %+v became %+v, %v", text, all, again, err)
		}
	})
}

func TestBuildLogging(t *testing.T) {
	type config struct {
		Appenders []appender
		Loggers   []logger
	}
	read := func(b []byte) (c config) {
		if err := json.Unmarshal(b, &c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	check := func(c config) {
		t.Helper()
		out := map[string]bool{}
		for _, a := range c.Appenders {
			if a.Type == "console" && a.Args["stream"] != "std_error" {
				out[a.Name] = true
			}
		}
		for _, l := range c.Loggers {
			for _, a := range l.Appenders {
				if out[a] != (l.Name == gateLogger && a == "stdout") || l.Additivity {
					t.Errorf("logger %s writes to %s", l.Name, a)
				}
			}
			if l.Name == gateLogger && (l.Level != "debug" || !slices.Contains(l.Appenders, "stdout")) {
				t.Errorf("%+v", l)
			}
		}
	}
	plain := read(must[[]byte](t)(BuildLogging(nil)))
	check(plain)
	added := read(must[[]byte](t)(BuildLogging([]byte(`{"includes": [], "appenders": [
		{"name": "err", "type": "console", "args": {"stream": "std_error"}, "enabled": true},
		{"name": "net", "type": "gelf", "args": {"endpoint": "10.0.0.1:12201", "host": "a"}, "enabled": true}],
		"loggers": [{"name": "vote", "level": "debug", "enabled": true, "appenders": ["err", "net"]},
		{"name": "mine", "level": "warn", "enabled": true, "appenders": ["net"]},
		{"name": "producer_plugin", "level": "off", "enabled": false, "appenders": ["err", "net"]}]}`))))
	check(added)
	if len(added.Loggers) != len(plain.Loggers)+1 {
		t.Errorf("%d loggers", len(added.Loggers))
	}
	for _, bad := range []string{
		`{`, `{"includes": ["x"]}`,
		`{"appenders": [{"name": "o", "type": "console", "args": {"stream": "std_out"}}]}`,
		`{"appenders": [{"name": "o", "type": "console", "args": {"stream": 0}}]}`,
		`{"appenders": [{"name": "o", "type": "dmlog", "args": {"file": "-"}}]}`,
		`{"appenders": [{"name": "stdout", "type": "gelf"}]}`,
		`{"loggers": [{"name": "default", "appenders": ["stdout"]}]}`,
	} {
		if b, err := BuildLogging([]byte(bad)); !IsConfigError(err) {
			t.Errorf("%s: %s %v", bad, b, err)
		}
	}
}

func TestVersion(t *testing.T) {
	for text, want := range map[string]Version{
		string(must[[]byte](t)(os.ReadFile("testdata/version/nodeos_version.stdout.txt"))):      {1, 2, 2, "", ""},
		string(must[[]byte](t)(os.ReadFile("testdata/version/nodeos_full-version.stdout.txt"))): {1, 2, 2, "", "04bdb089edc7e3c3f954e0aab4a7f3cb48635788"},
		"v1.3.0-rc1-04bdb089edc7e3c3f954e0aab4a7f3cb48635788":                                   {1, 3, 0, "rc1", "04bdb089edc7e3c3f954e0aab4a7f3cb48635788"},
		"v5.0.3-dirty": {5, 0, 3, "dirty", ""},
	} {
		if got, err := ParseVersion(text); err != nil || got != want {
			t.Errorf("%q: %+v %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "nodeos", "v1.2", "v1.2.2 x", "1.2.2-"} {
		if v, err := ParseVersion(bad); err == nil {
			t.Errorf("%q gave %v", bad, v)
		}
	}
	order := []string{"v1.2.2-rc1", "v1.2.2-rc2", "v1.2.2", "v1.2.3-rc1", "v1.10.0"}
	for i := range order[1:] {
		a, b := must[Version](t)(ParseVersion(order[i])), must[Version](t)(ParseVersion(order[i+1]))
		if a.Compare(b) >= 0 || b.Compare(a) <= 0 || a.String() != order[i] {
			t.Errorf("%s and %s", a, b)
		}
	}
}
