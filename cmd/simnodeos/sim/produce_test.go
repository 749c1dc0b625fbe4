package sim

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"roundtable/chain"
)

// The patterns of the recordings' README ("Log messages that matter"), as managers parse them.
var (
	linePattern     = regexp.MustCompile(`^(<\d>)?(debug|info |warn |error) (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}) (\S+)\s+(\S+?):(\d+)\s+(\S.*?)\s+\] (.*)$`)
	producedPattern = `Produced block ([0-9a-f]{16})\.\.\. #(\d+) @ (\S+) signed by (\S+) \[trxs: (\d+), lib: (\d+)(?:, confirmed: (\d+))?, net: \d+, cpu: \d+ us, elapsed: \d+ us, producing time: \d+ us\]$`
	receivedPattern = `Received block ([0-9a-f]{16})\.\.\. #(\d+) @ (\S+) signed by (\S+) \[trxs: (\d+), lib: (\d+), net: \d+, cpu: \d+ us, elapsed: \d+ us, applying time: \d+ us, latency: (-?\d+) ms\]$`
)

func parseTime(t *testing.T, s string) time.Time {
	t.Helper()
	at, err := time.Parse(timeLayout, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestSingleProducerKeepsNodeosTime(t *testing.T) {
	t.Parallel()
	r := newRig(t, "a", writeGenesis(t), keyConfig)
	r.write("config/logging.json", twoStream)
	p := r.start("-e", "--genesis-json", r.genesis)
	p.produced(8)
	inTime := 0
	for _, m := range p.stderr.wait(t, 8, `^info  (\S+) nodeos    controller.cpp:3592           log_applied          \] `+producedPattern)[1:8] {
		logged, stamp := parseTime(t, m[1]), parseTime(t, m[4])
		k := chain.SlotAt(stamp.UnixMilli()) % chain.WindowSlots
		due := stamp.Add(-37500 * time.Microsecond * time.Duration(k+1))
		if late := logged.Sub(due); late < -2*time.Millisecond {
			t.Errorf("block %s (k=%d) logged at %s, due at %s", m[3], k, m[1], formatTime(due))
		} else if late < 150*time.Millisecond {
			inTime++
		}
		if n, lib := m[3], m[7]; n != "2" && strconv.Itoa(atoi(lib)+1) != n {
			t.Errorf("block %s has lib %s", n, lib)
		}
	}
	if inTime < 4 { // the rest may be the test machine's fault
		t.Errorf("only %d of 7 blocks in time", inTime)
	}
	last := p.info()
	if last.Lib != last.Head-1 {
		t.Errorf("irreversible %d at head %d", last.Lib, last.Head)
	}
	if code := p.term(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	checkLedger(t, p, p.stderr.String())
	// The order of nodeos: the next block is started before the last one's "returned" is written.
	out, at := p.stdout.String(), 0
	for _, want := range []string{"Starting block #5 ", "Scheduling Block Production on ", "Produce block timer for 5 running at ", "tarting block", "Producing Block #5 returned: true\n"} {
		i := strings.Index(out[at:], want)
		if i < 0 {
			t.Fatalf("no %q in its place in:\n%s", want, out)
		}
		at += i
	}
	if strings.Contains(p.stderr.String(), "producer_plugin.cpp") {
		t.Error("producer_plugin wrote to standard error")
	}
}

// checkLedger compares the ledger with the Produced lines.
func checkLedger(t *testing.T, p *proc, log string) {
	t.Helper()
	lines := regexp.MustCompile("(?m)"+producedPattern).FindAllStringSubmatch(log, -1)
	led := p.readLedger()
	if len(led) != len(lines) {
		t.Fatalf("%d lines in the ledger, %d blocks in the log", len(led), len(lines))
	}
	for i, m := range lines {
		if led[i].ID.Short() != m[1] || strconv.Itoa(int(led[i].Num)) != m[2] || slotTime(led[i].Slot) != m[3] || led[i].Node != p.name {
			t.Errorf("ledger %+v, log %v", led[i], m)
		}
	}
}

func atoi(s string) int { n, _ := strconv.Atoi(s); return n }

// TestLogShapes compares the log with an excerpt of the recordings: every recorded line must have a line of the same shape.
func TestLogShapes(t *testing.T) {
	t.Parallel()
	r := newRig(t, "a", writeGenesis(t), keyConfig, "p2p-accept-transactions = true")
	p := r.start("-e", "--genesis-json", r.genesis)
	p.produced(2)
	p.post("/v1/producer/pause", "")
	p.stderr.wait(t, 1, `explicitly paused`)
	p.post("/v1/producer/resume", "")
	p.produced(4)
	resumeWhileProducing(t, p)
	p.signal(syscall.SIGHUP)
	p.stderr.wait(t, 1, `Received HUP`)
	if code := p.term(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	have := map[string]bool{}
	for line := range strings.Lines(p.stderr.String()) {
		have[shape(line)] = true
		if !linePattern.MatchString(strings.TrimSuffix(line, "\n")) && !strings.HasPrefix(line, "APPBASE") && !strings.HasPrefix(line, "     ") {
			t.Errorf("not a nodeos log line: %q", line)
		}
	}
	f, err := os.Open("testdata/recorded-lifecycle.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if s := shape(sc.Text()); !have[s] {
			t.Errorf("no line like the recorded %q (%s)", sc.Text(), s)
		}
	}
}

var (
	shapePaths = regexp.MustCompile(`/(data|tmp)/\S+`)
	shapeHex   = regexp.MustCompile(`\b[0-9a-f]{16,64}\b`)
	shapeNum   = regexp.MustCompile(`\d+`)
	shapeOpts  = regexp.MustCompile(`Non-default options: .*`)
)

// shape replaces what differs from run to run.
func shape(line string) string {
	line = strings.TrimSuffix(line, "\n")
	prefix, rest := "", line
	if len(line) > 6 && linePattern.MatchString(line) {
		prefix, rest = line[:6], line[29:] // level; then thread, file, function and message
		head, message, _ := strings.Cut(rest, " ] ")
		rest = head + " ] " + shapeNum.ReplaceAllString(shapeHex.ReplaceAllString(shapePaths.ReplaceAllString(shapeOpts.ReplaceAllString(message, "OPTIONS"), "PATH"), "HEX"), "N")
	}
	return prefix + rest
}

func TestPauseLetsTheBlockInProgressThrough(t *testing.T) {
	t.Parallel()
	r := newRig(t, "a", writeGenesis(t), keyConfig)
	p := r.start("-e", "--genesis-json", r.genesis)
	p.produced(3)
	if code, body := p.post("/v1/producer/pause", ""); code != 201 || body != `{"result":"ok"}` {
		t.Fatalf("pause: %d %s", code, body)
	}
	before := len(p.readLedger())
	if code, body := p.post("/v1/producer/paused", ""); code != 201 || body != "true" {
		t.Fatalf("paused: %d %s", code, body)
	}
	p.stderr.wait(t, 3, `^warn  \S+ nodeos    producer_plugin.cpp:2090      determine_pending_bl \] Not producing block because production is explicitly paused, block \S+$`)
	after := len(p.readLedger())
	if n := after - before; n < 0 || n > 1 {
		t.Errorf("%d blocks after the pause was answered", n)
	}
	p.post("/v1/producer/resume", "")
	p.stderr.wait(t, 1, `Producer resumed\. Scheduling production\.$`)
	p.produced(after + 2)
	resumeWhileProducing(t, p)
}

// resumeWhileProducing resumes until nodeos' short answer comes: between two windows it schedules anew even when not paused.
func resumeWhileProducing(t *testing.T, p *proc) {
	t.Helper()
	until(t, "resumed while producing", func() bool {
		p.post("/v1/producer/resume", "")
		return strings.Contains(p.stderr.String(), "] Producer resumed.\n")
	})
}

func TestFullBlocksAreProducedAhead(t *testing.T) {
	t.Parallel()
	r := newRig(t, "a", writeGenesis(t), keyConfig)
	p := r.start("-e", "--genesis-json", r.genesis, "--sim-full-blocks")
	until(t, "a block two seconds ahead of the clock", func() bool {
		for _, l := range p.readLedger() {
			at, err := time.Parse(time.RFC3339Nano, l.SignedAt)
			if err == nil && slotStart(l.Slot).Sub(at) > 2*time.Second {
				return true
			}
		}
		return false
	})
	for _, l := range p.readLedger() {
		if at, err := time.Parse(time.RFC3339Nano, l.SignedAt); err != nil || slotStart(l.Slot).Sub(at) > 6*time.Second {
			t.Errorf("slot %d signed at %s: more than its window ahead", l.Slot, l.SignedAt)
		}
	}
}

func TestThawedNodeSignsItsOldBlockFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t, "a", writeGenesis(t), keyConfig)
	r.write("config/logging.json", twoStream)
	p := r.start("-e", "--genesis-json", r.genesis)
	p.produced(2)
	// Stop it while a block is being built.
	until(t, "a block being built inside a window", func() bool {
		l := p.readLedger()
		next := l[len(l)-1]
		return next.Slot%12 < 10 && strings.Contains(p.stdout.String(), fmt.Sprintf("Starting block #%d ", next.Num+1))
	})
	p.signal(syscall.SIGSTOP)
	frozen := time.Now()
	<-time.After(1700 * time.Millisecond) // real time has to pass: the process is stopped
	before := len(p.readLedger())
	p.signal(syscall.SIGCONT)
	p.produced(before + 2)
	old := p.readLedger()[before]
	at, err := time.Parse(time.RFC3339Nano, old.SignedAt)
	if err != nil || at.Before(frozen) {
		t.Fatalf("%v %+v", err, old)
	}
	if age := at.Sub(slotStart(old.Slot)); age < 700*time.Millisecond {
		t.Errorf("first block after the thaw is for a slot only %s old", age)
	}
}

func TestLoggingReloadAndJournal(t *testing.T) {
	t.Parallel()
	r := newRig(t, "a", writeGenesis(t), keyConfig)
	r.env = []string{"JOURNAL_STREAM=8:1"}
	p := r.start("-e", "--genesis-json", r.genesis)
	p.stderr.wait(t, 1, `^<6>info  \S+ nodeos    main.cpp:158 `)
	p.produced(1)
	if p.stdout.String() != "" {
		t.Errorf("standard output: %s", p.stdout)
	}
	r.write("config/logging.json", twoStream)
	p.signal(syscall.SIGHUP)
	p.stdout.wait(t, 1, `^<7>debug \S+ nodeos    producer_plugin.cpp:\d+ +start_block          \] Starting block #\d+ \S+ producer eosio, deadline \S+$`)
	p.signal(syscall.SIGINT)
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestSavannaDigestsNameTheHeight(t *testing.T) {
	t.Parallel()
	r := newRig(t, "a", writeGenesis(t), keyConfig, "sim-savanna = true")
	p := r.start("-e", "--genesis-json", r.genesis)
	p.stderr.wait(t, 4, `Produced block .* #\d+ @ \S+ signed by eosio \[trxs: \d+, lib: \d+, net: `)
	for _, l := range p.readLedger() {
		if l.Digest != l.ID || l.Digest.String()[:8] != fmt.Sprintf("%08x", l.Num) {
			t.Errorf("%+v", l)
		}
	}
	if a := p.info(); a.Lib != max(a.Head-2, 1) {
		t.Errorf("irreversible %d at head %d", a.Lib, a.Head)
	}
}
