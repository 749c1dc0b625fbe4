package test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/fsm"
	"roundtable/security"
)

// secret is something that stands where it belongs and nowhere else.
type secret struct {
	name  string
	forms []string // each way to write it
	in    []string // ends of the names of files that may hold it
}

// What is planted besides the secrets that a cluster has by itself.
const (
	plantedPassword = "planted-password-7f3a"
	plantedEnv      = "planted-environment-91bc"
	plantedArg      = "planted-argument-c04d"

	aPlan = "weekly"
)

// TestNoSecretIsTold runs a cluster with TLS and looks for its secrets wherever somebody might read: in every log and file, in
// every answer of every member to every reading request, in what the command prints, in what is said of wrong input.
func TestNoSecretIsTold(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster")
	}
	b := layOut(t, drill.Options{Secure: true, Keosd: true, LogLevel: "debug"})
	b.plant()
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.first = drill.SlotNow() + 1
	secrets := b.secrets()
	for _, s := range secrets {
		if len(s.in) > 0 && len(b.holding(s)) == 0 { // the test would find nothing anywhere
			t.Fatalf("%s is in none of %v", s.name, s.in)
		}
	}

	// Whatever brings a secret to the managers: tokens good and bad, an invite, a join, a handoff.
	holder := b.overview().Holder()
	if err := b.Handoff(t.Context(), b.other(holder), b.other(holder).ID); err != nil {
		t.Fatal(err)
	}
	b.settle()
	for path, body := range map[string]string{
		"/cluster/backup?wait=60s": `{"kind":"snapshot"}`, "/cluster/plans": `{"id":"` + aPlan + `","kind":"data","every":"7d"}`,
	} {
		if a, err := ask(t.Context(), b.Members[0], http.MethodPost, path, body); err != nil || a.status > 201 {
			t.Fatalf("POST %s: %d %s %v", path, a.status, a.body, err)
		}
	}
	secrets = append(secrets, b.handedOut()...)

	told := func(where string, text []byte) {
		t.Helper()
		for _, s := range secrets {
			for _, form := range s.forms {
				if bytes.Contains(text, []byte(form)) {
					t.Errorf("%s tells %s", where, s.name)
				}
			}
		}
	}
	for _, m := range b.Members {
		for where, text := range b.everything(m) {
			told(where+" of "+m.ID, text)
		}
	}
	for _, m := range b.Members {
		node, err := b.NodePID(m)
		if err != nil {
			t.Fatal(err)
		}
		for _, pid := range []int{m.PID(), node} {
			if limit := coreLimit(t, pid); limit != "0 0" {
				t.Errorf("%s: the limit of core dumps of process %d is %s", m.ID, pid, limit)
			}
		}
	}
	for where, text := range b.commands() {
		told(where, text)
	}
	for where, text := range b.mistakes() {
		told(where, text)
	}
	if err := b.StopManager(t.Context(), b.Members[2]); err != nil { // what is said at the end, too
		t.Error(err)
	}
	for _, s := range secrets {
		for _, file := range b.holding(s) {
			kept := slices.Contains(s.in, keptConfigs) && strings.Contains(file, keptConfigs) && private(t, file) && private(t, filepath.Dir(file))
			if !kept && !slices.ContainsFunc(s.in, func(end string) bool { return strings.HasSuffix(file, end) }) {
				t.Errorf("%s stands in %s", s.name, file)
			}
		}
	}
	b.check()
}

// keptConfigs are the configurations that a member keeps, to go back to: what config.toml says of the node stands there, too.
const keptConfigs = "/configs/"

// private reports whether nobody but the owner may look into a file or a folder.
func private(t *testing.T, file string) bool {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()&0o077 == 0
}

// plant puts secrets into the configuration.
func (b *box) plant() {
	m1, m2 := b.Members[0], b.Members[1]
	edit(b.t, m1, `(?m)^url = "http://`, `url = "http://signer:`+plantedPassword+`@`)
	edit(b.t, m2, `(?ms)^kind = "keosd".*`, fmt.Sprintf("kind = \"file\"\nkey_file = %q\n", b.keyFile()))
	for _, m := range b.Members {
		edit(b.t, m, `(?m)^stop_timeout`, fmt.Sprintf("env = { PLANTED = %q }\nstop_timeout", plantedEnv))
		edit(b.t, m, `(?m)^args = \[`, fmt.Sprintf(`args = ["--http-alias", %q, `, plantedArg))
	}
}

// secrets are those that were there at the start.
func (b *box) secrets() []secret {
	b.t.Helper()
	read := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			b.t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	founder := b.Members[0].Files()
	gossip, err := base64.StdEncoding.DecodeString(read(founder.GossipKey))
	if err != nil {
		b.t.Fatal(err)
	}
	list := []secret{
		{"the producer's key", []string{read(b.keyFile())}, []string{"/producer.key"}},
		{"the gossip key", append(written(gossip), read(founder.GossipKey)), []string{"/tls/gossip.key"}},
		{"the CA's key", b.private(founder.CAKey), []string{"/tls/ca.key"}},
		{"the signer's password", []string{plantedPassword}, []string{"/m1/config.toml"}},
		{"the node's environment", []string{plantedEnv}, []string{"/config.toml", keptConfigs}},
		{"the node's arguments", []string{plantedArg}, []string{"/config.toml", keptConfigs}},
	}
	for _, m := range b.Members {
		list = append(list, secret{"the key of " + m.ID, b.private(m.Files().Key), []string{m.ID + "/tls/key.pem"}})
	}
	for _, role := range []string{fsm.RoleRead, fsm.RoleOperate, fsm.RoleAdmin} {
		list = append(list, secret{"the token " + role, secretOf(b.Token(role)), nil})
	}
	return list
}

// secretOf is the secret part of a token, an invite or a join string: the id before it is none.
func secretOf(text string) []string { return []string{text[strings.LastIndexByte(text, '_')+1:]} }

// written is how bytes may be written.
func written(b []byte) []string {
	return []string{string(b), hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)), base64.StdEncoding.EncodeToString(b), base64.RawURLEncoding.EncodeToString(b)}
}

// private is a key's PEM, line by line, and its number.
func (b *box) private(file string) []string {
	b.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		b.t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		b.t.Fatal(err)
	}
	number, err := parsed.(interface{ Bytes() ([]byte, error) }).Bytes()
	if err != nil {
		b.t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return append(written(number), lines[2:len(lines)-1]...) // the first line of every key says of which kind it is
}

// holding finds the files of the sandbox that hold a secret, in whatever form.
func (b *box) holding(s secret) (files []string) {
	b.t.Helper()
	for _, form := range s.forms {
		for _, file := range grep(b.t, b.Dir, form) {
			if !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	return files
}

// handedOut makes a token, an invite and a member of it, and shows the managers a bad token, a used invite and rubbish. It
// returns what was secret in all that.
func (b *box) handedOut() []secret {
	b.t.Helper()
	admin, m := b.Token(fsm.RoleAdmin), b.Members[1]
	var token api.NewToken
	if status, err := b.as(m, admin, http.MethodPost, "/cluster/tokens", `{"name":"planted","role":"read"}`, &token); err != nil || status != http.StatusCreated {
		b.t.Fatal(status, err)
	}
	var invited api.Invited
	if status, err := b.as(m, admin, http.MethodPost, "/cluster/members", `{"id":"m4"}`, &invited); err != nil || status != http.StatusCreated {
		b.t.Fatal(status, err)
	}
	join, err := security.ParseJoin(invited.Join)
	if err != nil {
		b.t.Fatal(err)
	}
	home := filepath.Join(b.Dir, "m4")
	for i, want := range []string{"", "invite.used"} {
		_, err := b.command("init", "--home", home+fmt.Sprint(i), "--join", invited.Join, "--advertise", "127.0.0.1", "--witness")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			b.t.Fatalf("joining: %v", err)
		}
	}
	unknown, _, _ := security.NewToken()
	for token, want := range map[string]int{unknown: http.StatusUnauthorized, "rt1_" + plantedPassword: http.StatusUnauthorized, token.Token: http.StatusOK} {
		if status, err := b.as(m, token, http.MethodGet, "/cluster", "", nil); err != nil || status != want {
			b.t.Errorf("%d %v, not %d", status, err, want)
		}
	}
	for _, body := range []string{`{"id":"m4","invite":"` + join.Invite + `","csr":"` + plantedPassword + `"}`, `{"id":"m4","invite":"` + join.Invite + `x"`, `{"invite":["` + plantedPassword + `"]}`} {
		if status, err := b.as(m, "", http.MethodPost, "/cluster/join", body, nil); err != nil || status/100 != 4 {
			b.t.Errorf("%d %v", status, err)
		}
	}
	return []secret{
		{"a new token", secretOf(token.Token), nil},
		{"an unknown token", secretOf(unknown), nil},
		{"an invite", secretOf(join.Invite), nil},
		{"a join string", []string{invited.Join[len(invited.Join)-60:]}, nil},
	}
}

// everything is what a member answers to whoever may read all: each GET of the API's own description.
func (b *box) everything(m *drill.Member) map[string][]byte {
	b.t.Helper()
	answers := map[string][]byte{}
	for _, path := range b.paths(m) {
		ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
		if strings.HasPrefix(path, "/cluster/events") { // it does not end
			cancel()
			ctx, cancel = context.WithTimeout(b.t.Context(), 2*time.Second)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.API+path, nil)
		if err != nil {
			b.t.Fatal(err)
		}
		resp, err := m.Client().Do(req)
		if err != nil {
			b.t.Fatalf("GET %s of %s: %v", path, m.ID, err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		cancel()
		if resp.StatusCode >= 400 && !strings.HasPrefix(path, "/health/") || err != nil && !strings.HasPrefix(path, "/cluster/events") {
			b.t.Errorf("GET %s of %s: %s %v", path, m.ID, resp.Status, err)
		}
		answers["GET "+path] = append(text, fmt.Sprint(resp.Header)...)
	}
	return answers
}

// paths are all that can be read, by the API's own description.
func (b *box) paths(m *drill.Member) (list []string) {
	b.t.Helper()
	a, err := ask(b.t.Context(), m, http.MethodGet, "/openapi.yaml", "")
	if err != nil {
		b.t.Fatal(err)
	}
	var operations []api.Operation
	if err := get(b.t.Context(), m, "/cluster/operations", &operations); err != nil || len(operations) == 0 {
		b.t.Fatalf("no operation to look at: %v", err)
	}
	var backups []api.Backup
	if err := get(b.t.Context(), m, "/cluster/backups", &backups); err != nil || len(backups) == 0 {
		b.t.Fatalf("no backup to look at: %v", err)
	}
	path := ""
	for line := range strings.Lines(string(a.body)) {
		switch {
		case strings.HasPrefix(line, "  /"):
			path = strings.TrimRight(strings.TrimSpace(line), ":")
		case strings.HasPrefix(line, "    get:"):
			switch path {
			case "/cluster/members/{id}":
				list = append(list, "/cluster/members/"+m.ID)
			case "/cluster/operations/{id}":
				list = append(list, "/cluster/operations/"+operations[0].ID)
			case "/cluster/backups/{id}":
				list = append(list, "/cluster/backups/"+backups[0].ID)
			case "/cluster/plans/{id}":
				list = append(list, "/cluster/plans/"+aPlan)
			case "/health/{role}":
				list = append(list, "/health/live", "/health/ready", "/health/holder")
			case "/cluster/events":
				list = append(list, "/cluster/events?since=1")
			case "/cluster/raft":
				list = append(list, path, path+"?all=true")
			case "/debug/pprof/{name}":
				for _, name := range []string{"cmdline", "heap?debug=1", "goroutine?debug=2", "allocs?debug=1", "profile?seconds=1", "trace?seconds=1", "symbol"} {
					list = append(list, "/debug/pprof/"+name)
				}
			default:
				list = append(list, path)
			}
		}
	}
	if len(list) < 20 {
		b.t.Fatalf("only %d paths: %v", len(list), list)
	}
	return list
}

// commands is what an operator's command prints.
func (b *box) commands() map[string][]byte {
	b.t.Helper()
	said := map[string][]byte{}
	home := b.Members[0].Home
	for _, line := range []string{
		"status", "members", "raft --all", "lease", "round", "operations", "history", "config get", "token list", "version", "certificate show",
		"events --since 1h",
	} {
		for _, output := range []string{"table", "json", "yaml"} {
			args := append(strings.Fields(line), "--home", home, "--output", output)
			out, err := b.command(args...)
			if err != nil && !strings.HasPrefix(line, "events") {
				b.t.Errorf("%v", err)
			}
			said["roundtable "+line+" -o "+output] = []byte(out)
		}
	}
	return said
}

// mistakes is what is said of wrong input that has secrets in it, by the command and by a manager that does not start.
func (b *box) mistakes() map[string][]byte {
	b.t.Helper()
	said := map[string][]byte{}
	token := b.Token(fsm.RoleAdmin)
	fails := func(what string, args ...string) {
		out, err := b.command(args...)
		if err == nil {
			b.t.Errorf("%s is no mistake", what)
		}
		said[what] = []byte(out)
	}
	fails("a token in the place of a server", "status", "--server", token)
	fails("a token in a URL", "status", "--server", "https://"+token+":x@127.0.0.1:1")
	fails("a token for a member", "handoff", "--to", token, "--home", b.Members[0].Home)
	fails("half a token", "status", "--server", b.Members[0].API, "--ca", b.Members[0].Files().CA, "--token", token[:len(token)-1])
	fails("a token in the place of a join string", "init", "--home", filepath.Join(b.Dir, "x"), "--join", token)
	fails("a token as an argument too many", "status", token)
	home := filepath.Join(b.Dir, "broken")
	if err := os.MkdirAll(home, 0o700); err != nil {
		b.t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(b.Members[0].Home, "config.toml"))
	if err != nil {
		b.t.Fatal(err)
	}
	for what, spoil := range map[string]func(string) string{
		"a signer in the open":      func(s string) string { return strings.Replace(s, "@127.0.0.1", "@10.1.2.3", 1) },
		"a signer of no kind":       func(s string) string { return strings.Replace(s, `url = "http://`, `url = "ftp://`, 1) },
		"arguments of no kind":      func(s string) string { return strings.Replace(s, "args = [", "args = [1, ", 1) },
		"an environment of no kind": func(s string) string { return strings.Replace(s, "env = {", "env = { A = 1,", 1) },
		"a quote too few":           func(s string) string { return strings.Replace(s, plantedArg+`"`, plantedArg, 1) },
		"an unknown key":            func(s string) string { return strings.Replace(s, "env = {", "envs = {", 1) },
		"a second signer": func(s string) string {
			return strings.Replace(s, "args = [", `args = ["--signature-provider=EOS1=KEY:`+plantedArg+`", `, 1)
		},
	} {
		if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(spoil(string(whole))), 0o600); err != nil {
			b.t.Fatal(err)
		}
		fails(what, "run", "--home", home)
	}
	if err := os.RemoveAll(home); err != nil {
		b.t.Fatal(err)
	}
	return said
}
