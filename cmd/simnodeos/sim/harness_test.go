package sim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests run the double as real processes: the test binary itself, which turns into simnodeos when childEnv is set, so
// that the race detector watches it too.
const childEnv = "SIMNODEOS_TEST_CHILD"

const (
	devPub  = "EOS6MRyAjQq8ud7hVNYcfnVPJqcVpscN5So8BhtHuGYqET5GDW5CV"
	devPriv = "5KQwrPbwdL6PhXujxW37FSSQZ1JiwsST4cqQzDeyXtP79zkvFD3"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(Main(os.Args[1:]))
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil { // they mostly wait for slots
		panic(err)
	}
	os.Exit(m.Run())
}

// watched collects a stream and lets tests wait for text in it.
type watched struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func newWatched() *watched { return &watched{more: make(chan struct{})} }

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.more)
	w.more = make(chan struct{})
	return w.text.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// wait blocks until the pattern matches n times and returns the matches.
func (w *watched) wait(t *testing.T, n int, pattern string) [][]string {
	t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	deadline := time.After(20 * time.Second)
	for {
		w.mu.Lock()
		found := re.FindAllStringSubmatch(w.text.String(), -1)
		more := w.more
		w.mu.Unlock()
		if len(found) >= n {
			return found
		}
		select {
		case <-more:
		case <-deadline:
			t.Fatalf("%q came %d times, not %d, in:\n%s", pattern, len(found), n, tail(w.String()))
		}
	}
}

// tail is the end of a long log, without the endless API lines.
func tail(s string) string {
	var keep []string
	for line := range strings.Lines(s) {
		if !strings.Contains(line, "log_add_handler") && !strings.Contains(line, "protocol_feature") {
			keep = append(keep, line)
		}
	}
	return strings.Join(keep[max(0, len(keep)-40):], "")
}

// loopback is this process's own address of loopback: no port of it is taken by another process's tests, nor as the source
// port of somebody's connection, between freePort and the child's listening.
var loopback = fmt.Sprintf("127.%d.%d.%d", 1+os.Getpid()>>15&0x3f, os.Getpid()>>7&0xff, 1+os.Getpid()&0x7f)

var ports struct {
	sync.Mutex
	given map[string]bool
}

// freeAddress is an address to listen at that was not given out before.
func freeAddress(t *testing.T) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.given == nil {
		ports.given = map[string]bool{}
	}
	for range 100 {
		l, err := net.Listen("tcp", loopback+":0")
		if err != nil {
			t.Fatal(err)
		}
		a := l.Addr().String()
		l.Close()
		if !ports.given[a] {
			ports.given[a] = true
			return a
		}
	}
	t.Fatal("no free port")
	return ""
}

// rig is one node's folders and addresses; it can be started more than once.
type rig struct {
	t       *testing.T
	name    string
	dir     string
	http    string
	p2p     string
	genesis string
	config  []string
	ledger  string
	env     []string
	program string // "" = this test binary
}

func writeGenesis(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "genesis.json")
	text := fmt.Sprintf(`{"initial_timestamp":%q,"initial_key":%q}`, time.Now().UTC().Truncate(time.Second).Format(timeLayout), devPub)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func newRig(t *testing.T, name, genesis string, config ...string) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{t: t, name: name, dir: dir, genesis: genesis, config: config, ledger: filepath.Join(dir, "ledger.jsonl"),
		http: freeAddress(t), p2p: freeAddress(t)}
	return r
}

func (r *rig) path(parts ...string) string {
	return filepath.Join(append([]string{r.dir}, parts...)...)
}

func (r *rig) write(rel, text string) {
	r.t.Helper()
	path := r.path(rel)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

const allPlugins = "plugin = eosio::chain_plugin\nplugin = eosio::chain_api_plugin\nplugin = eosio::producer_api_plugin\nplugin = eosio::net_api_plugin\n" +
	"plugin = eosio::db_size_api_plugin\nplugin = eosio::prometheus_plugin\n"

func (r *rig) command(args ...string) *exec.Cmd {
	r.t.Helper()
	r.write("config/config.ini", fmt.Sprintf("http-server-address = %s\np2p-listen-endpoint = %s\nagent-name = %s\nchain-state-db-size-mb = 16\n"+
		"http-validate-host = false\nverbose-http-errors = true\np2p-max-nodes-per-host = 25\n%s%s\n", r.http, r.p2p, r.name, allPlugins, strings.Join(r.config, "\n")))
	all := append([]string{"--config-dir", r.path("config"), "--data-dir", r.path("data"), "--sim-ledger", r.ledger, "--sim-calibration", "10ms",
		"--sim-p2p-reconnect", "1s"}, args...)
	program := r.program
	if program == "" {
		program = os.Args[0]
	}
	cmd := exec.Command(program, all...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "JOURNAL_STREAM=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, childEnv+"=1", "GORACE=atexit_sleep_ms=0")
	cmd.Env = append(cmd.Env, r.env...)
	return cmd
}

// proc is a running double.
type proc struct {
	*rig
	cmd    *exec.Cmd
	stdout *watched
	stderr *watched
	done   chan struct{}
}

func (r *rig) start(args ...string) *proc {
	r.t.Helper()
	p := &proc{rig: r, cmd: r.command(args...), stdout: newWatched(), stderr: newWatched(), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	if err := p.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }() // the state is read afterwards
	r.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if strings.Contains(p.stderr.String(), "DATA RACE") {
			r.t.Errorf("%s: %s", r.name, p.stderr)
		}
	})
	return p
}

// run starts the double and waits for its end.
func (r *rig) run(args ...string) (string, int) {
	r.t.Helper()
	p := r.start(args...)
	code := p.wait()
	return p.stderr.String(), code
}

func (p *proc) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(20 * time.Second):
		p.t.Fatalf("%s does not end:\n%s", p.name, tail(p.stderr.String()))
		return 0
	}
}

func (p *proc) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

func (p *proc) term() int { p.signal(syscall.SIGTERM); return p.wait() }

func (p *proc) produced(n int) { p.t.Helper(); p.stderr.wait(p.t, n, `Produced block`) }

func (r *rig) post(path, body string) (int, string) {
	r.t.Helper()
	resp, err := http.Post("http://"+r.http+path, "application/json", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

type infoAnswer struct {
	Head     uint32 `json:"head_block_num"`
	HeadID   string `json:"head_block_id"`
	HeadTime string `json:"head_block_time"`
	Lib      uint32 `json:"last_irreversible_block_num"`
	ForkHead uint32 `json:"fork_db_head_block_num"`
}

func (r *rig) info() infoAnswer {
	r.t.Helper()
	var a infoAnswer
	_, body := r.post("/v1/chain/get_info", "")
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		r.t.Fatal(err)
	}
	return a
}

// until polls a condition that only the other process can bring about.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for !cond() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("never: %s", what)
		}
	}
}

func (r *rig) readLedger() []ledgerLine {
	r.t.Helper()
	f, err := os.Open(r.ledger)
	if err != nil {
		return nil
	}
	defer f.Close()
	var out []ledgerLine
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		var l ledgerLine
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			r.t.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

const (
	keyConfig = "producer-name = eosio\nsignature-provider = " + devPub + "=KEY:" + devPriv
	twoStream = `{"appenders":[{"name":"e","type":"console","args":{"stream":"std_error"}},{"name":"o","type":"console","args":{"stream":"std_out"}}],
"loggers":[{"name":"default","level":"info","appenders":["e"]},{"name":"producer_plugin","level":"debug","additivity":false,"appenders":["o"]}]}`
)
