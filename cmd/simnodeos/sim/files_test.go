package sim

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func (r *rig) has(rel string) bool {
	_, err := os.Stat(r.path(rel))
	return err == nil
}

func TestCleanShutdownAndRestart(t *testing.T) {
	t.Parallel()
	r := newRig(t, "a", writeGenesis(t), keyConfig)
	p := r.start("-e", "--genesis-json", r.genesis)
	p.produced(3)
	if r.has("data/state/chain_head.dat") || r.has("data/blocks/reversible/fork_db.dat") {
		t.Error("files of a clean shutdown are there while running")
	}
	began := time.Now()
	if code := p.term(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if took := time.Since(began); took > 500*time.Millisecond {
		t.Errorf("SIGTERM took %s", took)
	}
	if lines := strings.Split(strings.TrimSpace(p.stderr.String()), "\n"); !strings.HasSuffix(lines[len(lines)-1], "nodeos successfully exiting") {
		t.Errorf("last line %q", lines[len(lines)-1])
	}
	for _, f := range []string{"data/state/chain_head.dat", "data/blocks/reversible/fork_db.dat", "data/state/shared_memory.bin", "data/blocks/blocks.log", "data/blocks/blocks.index", "config/config.ini"} {
		if !r.has(f) {
			t.Errorf("no %s", f)
		}
	}
	head := p.readLedger()[len(p.readLedger())-1]
	q := r.start("-e", "-x")
	q.stderr.wait(t, 1, fmt.Sprintf(`Blockchain started; head block is #%d$`, head.Num))
	q.stderr.wait(t, 1, `explicitly paused`)
	if a := q.info(); a.HeadID != head.ID.String() {
		t.Errorf("head %+v, want %s", a, head.ID)
	}
	if code := q.term(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if err := os.Remove(r.path("data/blocks/reversible/fork_db.dat")); err != nil {
		t.Fatal(err)
	}
	log, code := r.run("-e")
	if code != 254 || !strings.Contains(log, "3020000 fork_database_exception: Fork database exception\nNo existing fork database despite existing chain state. Replay required.\n") {
		t.Errorf("without fork_db.dat: %d\n%s", code, tail(log))
	}
}

func TestKilledNodeIsDirty(t *testing.T) {
	t.Parallel()
	r := newRig(t, "a", writeGenesis(t), keyConfig)
	p := r.start("-e", "--genesis-json", r.genesis)
	p.produced(3)
	const dirty = "main                 ] database dirty flag set (likely due to unclean shutdown): replay required"
	second := *r // another process on the live directory: there is no lock
	log, code := second.run("-e", "--http-server-address", "127.0.0.1:1", "--p2p-listen-endpoint", "127.0.0.1:2")
	if code != 2 || !strings.Contains(log, dirty) {
		t.Errorf("second process: %d\n%s", code, tail(log))
	}
	p.signal(syscall.SIGKILL)
	<-p.done
	lib := p.readLedger()[len(p.readLedger())-1].Num - 1
	log, code = r.run("-e")
	if code != 2 || !strings.Contains(log, `13 N5boost10wrapexceptISt12system_errorEE: Database dirty flag set
rethrow Database dirty flag set: 
    {"what":"Database dirty flag set"}
    nodeos  chain_plugin.cpp:1130 plugin_initialize

appbase: exception thrown during plugin "eosio::chain_plugin" initialization.
Database dirty flag set
`) || !strings.Contains(log, dirty) {
		t.Errorf("plain restart: %d\n%s", code, tail(log))
	}
	q := r.start("-e", "-x", "--replay-blockchain")
	q.stderr.wait(t, 1, `explicitly paused`)
	if a := q.info(); a.Head != a.Lib || a.Head+1 < lib || a.Head > lib {
		t.Errorf("after the replay %+v, irreversible was %d", a, lib)
	}
	_, body := q.post("/v1/producer/resume", "")
	q.produced(2)
	if body != resultOK {
		t.Error(body)
	}
	// A snapshot, then start from it on an empty state.
	_, body = q.post("/v1/producer/create_snapshot", "")
	found, err := filepath.Glob(r.path("data/snapshots/snapshot-*.bin"))
	if err != nil || len(found) != 1 || !strings.Contains(body, found[0]) {
		t.Fatalf("%v %v %s", found, err, body)
	}
	q.signal(syscall.SIGKILL)
	<-q.done
	log, code = r.run("--snapshot", found[0])
	if code != 254 || !strings.Contains(log, "Snapshot can only be used to initialize an empty database, remove directory: "+r.path("data/state")) {
		t.Errorf("snapshot on existing state: %d\n%s", code, tail(log))
	}
	if err := os.RemoveAll(r.path("data/state")); err != nil {
		t.Fatal(err)
	}
	s := r.start("-e", "--snapshot", found[0])
	s.stderr.wait(t, 1, `Snapshot loaded, head: \d+ : [0-9a-f]{64}$`)
	s.produced(2)
	s.signal(syscall.SIGKILL)
	<-s.done
	h := r.start("-e", "--hard-replay-blockchain")
	h.stderr.wait(t, 1, `Moved existing blocks directory to backup location: '`+r.path("data/blocks-")+`\S+'$`)
	h.produced(1)
}

// TestStalledReader: nobody reads standard error; the main thread stops in a write, get_info goes on with a frozen head.
func TestStalledReader(t *testing.T) {
	t.Parallel()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	r := newRig(t, "a", writeGenesis(t), keyConfig)
	r.write("config/logging.json", strings.Replace(twoStream, `"appenders":["o"]`, `"appenders":["e"]`, 1))
	cmd := r.command("-e", "--genesis-json", r.genesis)
	cmd.Stderr = in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	_ = in.Close()
	// Read until HTTP is up, then make the pipe so small that it fills in seconds.
	buf := make([]byte, 512)
	for text := ""; ; {
		m, err := out.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if text += string(buf[:m]); !strings.Contains(text, "for API categories") {
			continue
		}
		if _, err := unix.FcntlInt(out.Fd(), unix.F_SETPIPE_SZ, 4096); err == nil {
			break
		}
	}
	var head uint32
	var since time.Time
	until(t, "the head stands still", func() bool {
		if a := r.info(); a.Head != head {
			head, since = a.Head, time.Now()
		}
		return head > 0 && time.Since(since) > 1500*time.Millisecond
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if a := r.info(); a.Head != head {
		t.Error("it moved")
	}
	done := make(chan error, 1)
	go func() {
		for {
			if _, err := out.Read(buf); err != nil {
				break
			}
		}
		done <- cmd.Wait()
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("after the pipe was drained: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("does not end")
	}
}

// TestClosedReader: the reader of standard error goes away; production goes on, and SIGTERM ends in SIGPIPE with a clean state.
func TestClosedReader(t *testing.T) {
	t.Parallel()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, "a", writeGenesis(t), keyConfig)
	cmd := r.command("-e", "--genesis-json", r.genesis)
	cmd.Stderr = in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	_ = in.Close()
	buf := make([]byte, 4096)
	for len(r.readLedger()) == 0 {
		if _, err := out.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	_ = out.Close()
	have := len(r.readLedger())
	until(t, "more blocks", func() bool { return len(r.readLedger()) >= have+2 })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGPIPE {
		t.Errorf("ended with %v", cmd.ProcessState)
	}
	q := r.start("-e", "-x")
	q.stderr.wait(t, 1, `explicitly paused`)
}

func TestStartErrors(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = busy.Close() }) // after the parallel cases
	g := writeGenesis(t)
	for _, c := range []struct {
		name   string
		config string
		args   []string
		code   int
		want   string // the end of standard error
	}{
		{"unknown option", "", []string{"-e", "--no-such-option"}, 254, "] /src/spring/libraries/appbase/application_base.cpp(248): Throw in function bool appbase::application_base::" +
			"initialize_impl(int, char**, std::vector<appbase::abstract_plugin*>, std::function<void()>)\nDynamic exception type: boost::wrapexcept<std::runtime_error>\n" +
			"std::exception::what: Unknown option '--no-such-option' passed as command line argument\n\n"},
		{"unknown config option", "no-such-option = 1", nil, 254, "std::exception::what: Unknown option 'no-such-option' inside the config file CONFIG/config.ini\n\n"},
		{"bad value", "net-threads = banana", nil, 254, "Dynamic exception type: boost::wrapexcept<boost::program_options::invalid_option_value>\n" +
			"std::exception::what: the argument ('banana') for option 'net-threads' is invalid\n\n"},
		{"unknown plugin", "plugin = eosio::nope_plugin", nil, 254, "std::exception::what: unable to find plugin: eosio::nope_plugin\n\n"},
		{"malformed provider", "producer-name = eosio\nsignature-provider = garbage", nil, 254, "main                 ] 3110006 plugin_config_exception: Incorrect plugin configuration\n" +
			"Missing \"=\" in the key spec pair\n    {}\n    nodeos  signature_provider_plugin.cpp:109 parse_signature_provider_spec\nrethrow\n    {}\n    nodeos  producer_plugin.cpp:1572 plugin_initialize\n\n"},
		{"wrong key", "producer-name = eosio\nsignature-provider = EOS7yBtksm8Kkg85r4in4uCbfN77uRwe82apM8jjbhFVDgEgz3w8S=KEY:" + devPriv, nil, 254,
			"    nodeos  signature_provider_plugin.cpp:51 signature_provider_for_specification\nrethrow\n    {}\n    nodeos  producer_plugin.cpp:1572 plugin_initialize\n\n"},
		{"http port in use", "", []string{"--http-server-address", busy.Addr().String()}, 254, "main                 ] Bad address\n"},
		{"p2p port in use", "", []string{"--p2p-listen-endpoint", busy.Addr().String()}, 254, "main                 ] Bad address\n"},
		{"no genesis file", "", []string{"--genesis-json", "/nope.json"}, 254, "Specified genesis file '/nope.json' does not exist.\n    {\"genesis\":\"/nope.json\"}\n" +
			"    nodeos  chain_plugin.cpp:871 plugin_initialize\nrethrow\n    {}\n    nodeos  chain_plugin.cpp:1130 plugin_initialize\n\n"},
		{"tiny state database", "", []string{"--chain-state-db-size-mb", "1"}, 1, "main                 ] bad alloc\n"},
		{"full disk", "", []string{"--resource-monitor-space-threshold", "1"}, 0, "nodeos successfully exiting\n"},
		{"enough blocks", keyConfig, []string{"-e", "--terminate-at-block", "3"}, 0, "nodeos successfully exiting\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "a", g, c.config)
			a := c.args
			if !strings.Contains(strings.Join(a, " "), "--genesis-json") {
				a = append([]string{"--genesis-json", g}, a...)
			}
			log, code := r.run(a...)
			if code != c.code || !strings.HasSuffix(log, strings.ReplaceAll(c.want, "CONFIG", r.path("config"))) {
				t.Errorf("exit code %d, standard error ends\n%s", code, log[max(0, len(log)-900):])
			}
		})
	}
}

func TestSIGTERMDuringStart(t *testing.T) {
	t.Parallel()
	r := newRig(t, "a", writeGenesis(t), keyConfig)
	p := r.start("-e", "--genesis-json", r.genesis, "--sim-slow-start", "1m")
	p.stderr.wait(t, 1, `Starting fresh blockchain state using provided genesis state\.$`)
	if code := p.term(); code != 0 || !strings.Contains(p.stderr.String(), "nodeos successfully exiting") {
		t.Fatalf("exit code %d", code)
	}
	q := r.start("-e", "--genesis-json", r.genesis)
	q.produced(1)
}
