package sim

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// What a test of upgrades needs of the double: pause_at_block, protocol features, table rows, and builds with a fault.

// TestPauseAtBlock: production stops at the block, and so does a follower's taking in; nodeos answers on, and resume clears it
// (recordings 34 to 37).
func TestPauseAtBlock(t *testing.T) {
	t.Parallel()
	g := writeGenesis(t)
	ra, rb := newRig(t, "a", g, keyConfig), newRig(t, "b", g, keyConfig)
	a := ra.start("-e", "--genesis-json", g)
	b := rb.start(args([]string{"-e", "-x", "--genesis-json", g}, peers(ra))...)
	b.stderr.wait(t, 1, `for API categories`)
	until(t, "b follows", func() bool { return b.info().Head >= 3 })
	stop := b.info().Head + 3
	if code, body := b.post("/v1/producer/pause_at_block", fmt.Sprintf(`{"block_num":%d}`, stop)); code != 201 || body != `{"result":"ok"}` {
		t.Fatal(code, body)
	}
	last := a.info().Head + 6
	if code, body := a.post("/v1/producer/pause_at_block", fmt.Sprintf(`{"block_num":%d}`, last)); code != 201 {
		t.Fatal(code, body)
	}
	a.stderr.wait(t, 1, fmt.Sprintf(`pause_at_block       \] Set pause at block #%d$`, last))
	until(t, "a is there", func() bool { return a.info().Head == last })
	if _, paused := a.post("/v1/producer/paused", ""); paused != "false" { // it says nothing of this
		t.Error("paused:", paused)
	}
	code, body := a.post("/v1/producer/pause_at_block", `{"block_num":2}`)
	if code != 500 || !strings.Contains(body, fmt.Sprintf("Pause at block 2 <= chain head %d", last)) {
		t.Error(code, body)
	}
	<-time.After(1200 * time.Millisecond) // two slots have to go by in which nothing happens
	if a, b := a.info(), b.info(); a.Head != last || b.Head != stop || b.Lib > stop {
		t.Errorf("heads %d and %d, want %d and %d", a.Head, b.Head, last, stop)
	}
	b.post("/v1/producer/pause_at_block", `{"block_num":4294967295}`) // what resume sets, without resuming
	a.post("/v1/producer/resume", "")
	a.stderr.wait(t, 1, `\] Producer resumed\.$`)
	a.stderr.wait(t, 1, fmt.Sprintf(`Produced block \S+ #%d `, last+1))
	until(t, "b takes in the rest", func() bool { return b.info().Head > last })
	if strings.Contains(b.stderr.String(), "Produced block") {
		t.Error("b produced while it was paused")
	}
	for _, p := range []*proc{a, b} {
		if s := p.stderr.String(); strings.Contains(s, "switching forks") {
			t.Error(tail(s))
		}
		if code := p.term(); code != 0 {
			t.Error(code)
		}
	}
}

// TestPauseAtBlockIsForgotten by a restart.
func TestPauseAtBlockIsForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t, "a", writeGenesis(t), keyConfig)
	p := r.start("-e", "--genesis-json", r.genesis)
	p.produced(1)
	stop := p.info().Head + 2
	p.post("/v1/producer/pause_at_block", fmt.Sprintf(`{"block_num":%d}`, stop))
	until(t, "it is there", func() bool { return p.info().Head == stop })
	if code := p.term(); code != 0 {
		t.Fatal(code)
	}
	p = r.start("-e")
	p.stderr.wait(t, 1, fmt.Sprintf(`Produced block \S+ #%d `, stop+1))
}

func TestFeaturesAndTables(t *testing.T) {
	t.Parallel()
	r := newRig(t, "a", writeGenesis(t), keyConfig)
	features, table := r.path("features"), r.path("table")
	p := r.start("-e", "--genesis-json", r.genesis, "--sim-feature-file", features, "--sim-table", table)
	p.produced(2)
	names := func() string {
		code, body := p.post("/v1/chain/get_activated_protocol_features", `{"limit":1000}`)
		var a struct {
			Features []struct {
				Digest  string                         `json:"feature_digest"`
				Ordinal int                            `json:"activation_ordinal"`
				Block   int                            `json:"activation_block_num"`
				Spec    []struct{ Name, Value string } `json:"specification"`
			} `json:"activated_protocol_features"`
		}
		if err := json.Unmarshal([]byte(body), &a); err != nil || code != 200 {
			t.Fatal(code, body, err)
		}
		var all []string
		for _, f := range a.Features {
			all = append(all, fmt.Sprintf("%d %s %d %s", f.Ordinal, f.Spec[0].Value, f.Block, f.Digest[:4]))
		}
		return strings.Join(all, ",")
	}
	if got := names(); got != "" {
		t.Error(got)
	}
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	soon := p.info().Head + 3
	write(features, fmt.Sprintf("# first\nPREACTIVATE_FEATURE\n1a99a59d87e06e09ec5b028a9cbb7749b4a5ad8819004365d02dc4379a8b7241 3\nOF_TOMORROW %d\n", soon))
	const two = "0 PREACTIVATE_FEATURE 2 0ec7,1 ONLY_LINK_TO_EXISTING_PERMISSION 3 1a99"
	if got := names(); got != two && p.info().Head < soon {
		t.Error(got)
	}
	until(t, "the third at its height", func() bool { return names() != two })
	if got := names(); !strings.HasPrefix(got, fmt.Sprintf("%s,2 OF_TOMORROW %d ", two, soon)) || p.info().Head < soon {
		t.Error(got)
	}

	rows := func(body string) string { _, got := p.post("/v1/chain/get_table_rows", body); return got }
	if got := rows(`{"json":true,"code":"nobody","table":"t"}`); !strings.Contains(got, `"code":400,"message":"Account lookup"`) || !strings.Contains(got, "Fail to retrieve account for nobody") {
		t.Error(got)
	}
	if got := rows(`{"json":true,"code":"eosio","scope":"eosio","table":"upgrades"}`); !strings.Contains(got, `"name":"contract_table_query_exception"`) ||
		!strings.Contains(got, "Table upgrades is not specified in the ABI") || !strings.Contains(got, `"code":500`) {
		t.Error(got)
	}
	write(table, `{"code":"eosio","scope":"eosio","table":"upgrades","key":"bob","row":{"name":"bob"}}
{"code":"eosio","scope":"eosio","table":"upgrades","key":"alice","row":{"name":"alice"}}
{"code":"eosio","scope":"eosio","table":"upgrades","key":"7","row":{"name":"seven"}}
{"code":"eosio","scope":"else","table":"upgrades","key":"1","row":{"name":"else"}}
{"code":"eosio","scope":"eosio","table":"empty"}
`)
	const q = `{"json":true,"code":"eosio","scope":"eosio","table":"upgrades"`
	for body, want := range map[string]string{
		q + `}`: `{"rows":[{"name":"seven"},{"name":"alice"},{"name":"bob"}],"more":false,"next_key":""}`,
		q + `,"lower_bound":"alice","upper_bound":"alice"}`: `{"rows":[{"name":"alice"}],"more":false,"next_key":""}`,
		q + `,"limit":1}`:                                                    `{"rows":[{"name":"seven"}],"more":true,"next_key":"3773036822876127232"}`,
		q + `,"reverse":true,"limit":2}`:                                     `{"rows":[{"name":"bob"},{"name":"alice"}],"more":true,"next_key":"7"}`,
		q + `,"lower_bound":"8","upper_bound":"9"}`:                          `{"rows":[],"more":false,"next_key":""}`,
		`{"json":true,"code":"eosio","scope":"eosio","table":"empty"}`:       `{"rows":[],"more":false,"next_key":""}`,
		`{"code":"eosio","scope":"else","table":"upgrades"}`:                 `{"rows":["7b226e616d65223a22656c7365227d"],"more":false,"next_key":""}`,
		`{"json":true,"code":"eosio","scope":"nobody","table":"upgrades"}`:   `{"rows":[],"more":false,"next_key":""}`,
		`{"json":true,"code":"eosio","scope":"eosio","table":"upgrades","x"`: "",
	} {
		got := rows(body)
		if want == "" && !strings.Contains(got, "Unable to parse valid input from POST body") || want != "" && got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}

// TestTableKeys: names as nodeos packs them, of the recorded accounts' encoding (eosio is 6138663577826885632).
func TestTableKeys(t *testing.T) {
	for name, want := range map[string]uint64{"eosio": 6138663577826885632, "7": 7, "": 0, "alice": 3773036822876127232, "zzzzzzzzzzzzj": 1<<64 - 1} {
		if got := tableKey(name); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

func TestFaultsOfABuild(t *testing.T) {
	t.Parallel()
	g := writeGenesis(t)
	for _, c := range []struct {
		name, config, fault string
		code                int
		want                string // the end of standard error
	}{
		{"at start", "", "--sim-exit-at-start 254", 254, "std::exception::what: Unknown option '--sim-exit-at-start' passed as command line argument\n\n"},
		{"at start, by config.ini", "sim-exit-at-start = 254", "", 254, "std::exception::what: Unknown option 'sim-exit-at-start' inside the config file CONFIG/config.ini\n\n"},
		{"at start, dirty", "", "--sim-exit-at-start 2", 2, "database dirty flag set (likely due to unclean shutdown): replay required\n"},
		{"at start, full", "", "--sim-exit-at-start 1", 1, "main                 ] bad alloc\n"},
		{"at start, in silence", "", "--sim-exit-at-start 77", 77, ""},
		{"no such code", "", "--sim-exit-at-start 256", 254, "the argument ('256') for option 'sim-exit-at-start' is invalid\n\n"},
		{"later", "", "--sim-exit-after 300ms", 254, "main                 ] sim-exit-after\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "a", g, c.config, keyConfig)
			log, code := r.run(append([]string{"-e", "-x", "--genesis-json", g}, strings.Fields(c.fault)...)...)
			if code != c.code || !strings.HasSuffix(log, strings.ReplaceAll(c.want, "CONFIG", r.path("config"))) {
				t.Errorf("exit code %d, standard error ends\n%s", code, log[max(0, len(log)-600):])
			}
			if strings.Contains(log, "start listening on "+r.http) != (c.name == "later") {
				t.Error("HTTP")
			}
			if c.name == "later" { // the state was written: another build may go on
				if p := r.start("-e"); p.stderr.wait(t, 1, `Produced block`) == nil || p.term() != 0 {
					t.Error(tail(p.stderr.String()))
				}
			}
		})
	}
}

// TestNeverSync: the node is connected and answers, and its head stands.
func TestNeverSync(t *testing.T) {
	t.Parallel()
	g := writeGenesis(t)
	ra, rb := newRig(t, "a", g, keyConfig), newRig(t, "b", g, keyConfig)
	a := ra.start("-e", "--genesis-json", g)
	a.produced(3)
	b := rb.start(args([]string{"-e", "-x", "--genesis-json", g, "--sim-never-sync"}, peers(ra))...)
	b.stderr.wait(t, 1, `for API categories`)
	until(t, "b is connected", func() bool {
		_, body := rb.post("/v1/net/connections", "")
		return strings.Contains(body, `"is_socket_open":true`) && !strings.Contains(body, `"generation":0`)
	})
	head := a.info().Head
	until(t, "blocks have come", func() bool { return a.info().Head >= head+2 })
	if got := b.info(); got.Head != 1 || got.ForkHead != 1 {
		t.Errorf("%+v", got)
	}
	if n := strings.Count(a.stderr.String(), "enqueue peer_catchup"); n > 2 {
		t.Errorf("b asked %d times for blocks", n)
	}
	if code := b.term(); code != 0 {
		t.Fatal(code)
	}
	b = rb.start(args([]string{"-e", "-x"}, peers(ra))...) // and another build comes along
	b.stderr.wait(t, 1, `for API categories`)
	until(t, "it follows", func() bool { return b.info().Head > head })
}

// TestBuiltInFault: a build with a fault says its version all the same.
func TestBuiltInFault(t *testing.T) {
	if testing.Short() {
		t.Skip("builds simnodeos")
	}
	t.Parallel()
	bin := buildVersion(t, "v1.2.4", "--sim-exit-at-start 254")
	if out, err := exec.Command(bin, "--version").Output(); err != nil || string(out) != "v1.2.4\n" {
		t.Error(string(out), err)
	}
	r := newRig(t, "a", writeGenesis(t), keyConfig)
	r.program = bin
	if log, code := r.run("-e", "--genesis-json", r.genesis); code != 254 {
		t.Error(code, log)
	}
}
