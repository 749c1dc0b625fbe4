package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// copyData copies paths below the data directory to another node's.
func (r *rig) copyData(to *rig, paths ...string) {
	r.t.Helper()
	for _, p := range paths {
		if err := os.MkdirAll(filepath.Dir(to.path("data", p)), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-a", "--sparse=always", r.path("data", p), to.path("data", p)).CombinedOutput(); err != nil {
			r.t.Fatalf("%v %s", err, out)
		}
	}
}

// another is a node with its own folders, of the same chain.
func (r *rig) another(name string, config ...string) *rig {
	r.t.Helper()
	return newRig(r.t, name, r.genesis, config...)
}

func (r *rig) glob(pattern string) (names []string) {
	r.t.Helper()
	paths, err := filepath.Glob(r.path("data", pattern))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range paths {
		names = append(names, filepath.Base(p))
	}
	return names
}

func (r *rig) read(rel string) []byte {
	r.t.Helper()
	data, err := os.ReadFile(r.path("data", rel))
	if err != nil {
		r.t.Fatal(err)
	}
	return data
}

func onDisk(t *testing.T, path string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// TestRestoreElsewhere: a copy of a stopped node's data starts on another node, which fetches from its peers what came since.
func TestRestoreElsewhere(t *testing.T) {
	t.Parallel()
	a := newRig(t, "a", writeGenesis(t), keyConfig, "sim-block-bytes = 20000", "sim-state-mb = 4", "sim-state-churn = 64", "blocks-log-stride = 4", "blocks-retained-dir = old")
	p := a.start("-e", "--genesis-json", a.genesis)
	p.produced(6)
	if code := p.term(); code != 0 {
		t.Fatal(code)
	}
	first, size := a.read("state/shared_memory.bin"), onDisk(t, a.path("data/state/shared_memory.bin"))
	if size < 4<<20 || size > 5<<20 || len(first) != 16<<20 {
		t.Errorf("the state takes %d bytes of %d", size, len(first))
	}
	if n := len(a.read("blocks/blocks.log")) + len(a.read("blocks/old/blocks-1-4.log")); n < 6*20000 {
		t.Errorf("the logs have %d bytes", n)
	}
	b := a.another("b", "p2p-peer-address = "+a.p2p, "blocks-log-stride = 4", "blocks-retained-dir = old")
	a.copyData(b, "blocks", "state")
	if got := onDisk(t, b.path("data/state/shared_memory.bin")); got > size {
		t.Errorf("the copy takes %d bytes of disk, the original %d", got, size)
	}

	p = a.start("-e")
	p.produced(6)
	q := b.start("-e")
	q.stderr.wait(t, 1, "for API categories")
	until(t, "the copy has caught up", func() bool {
		x, y := a.info(), b.info()
		return x.Head > 12 && y.Head+1 >= x.Head && b.glob("blocks/old/blocks-9-12.log") != nil // it is written once irreversible
	})
	if code := q.term(); code != 0 {
		t.Error(code)
	}
	if code := p.term(); code != 0 {
		t.Error(code)
	}
	changed, pages := 0, len(first)/pageSize
	second := a.read("state/shared_memory.bin")
	for i := range pages {
		if !bytes.Equal(first[i*pageSize:][:pageSize], second[i*pageSize:][:pageSize]) {
			changed++
		}
	}
	if changed < 20 || changed > 1024 || onDisk(t, a.path("data/state/shared_memory.bin")) > size+pageSize {
		t.Errorf("%d of %d pages have changed, %d bytes of disk", changed, pages, onDisk(t, a.path("data/state/shared_memory.bin")))
	}
	if !bytes.Equal(b.read("blocks/old/blocks-5-8.log"), a.read("blocks/old/blocks-5-8.log")) {
		t.Error("a stride is not the same on both nodes", b.glob("blocks/old/*"))
	}
}

// TestDamagedData: what is cut off, changed, or of another time than the rest does not start, in nodeos' way of not starting.
func TestDamagedData(t *testing.T) {
	t.Parallel()
	a := newRig(t, "a", writeGenesis(t), keyConfig)
	p := a.start("-e", "--genesis-json", a.genesis)
	p.produced(4)
	_, body := p.post("/v1/producer/create_snapshot", "")
	p.produced(6)
	p.term()
	early := a.another("early")
	a.copyData(early, "blocks", "state")
	p = a.start("-e")
	p.produced(5)
	p.term()
	snapshots := a.glob("snapshots/snapshot-*.bin")
	if len(snapshots) != 1 || !strings.Contains(body, snapshots[0]) {
		t.Fatal(snapshots, body)
	}
	other := newRig(t, "other", writeGenesis(t), keyConfig, `sim-schedule = eosio`)
	o := other.start("-e", "--genesis-json", other.genesis, "--sim-savanna")
	o.produced(3)
	o.term()

	cut := func(r *rig, rel string, to int64) {
		if err := os.Truncate(r.path("data", rel), to); err != nil {
			t.Fatal(err)
		}
	}
	flip := func(r *rig, rel string, at int) {
		data := r.read(rel)
		data[at] ^= 1
		if err := os.WriteFile(r.path("data", rel), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(r *rig, rel string) {
		if err := os.RemoveAll(r.path("data", rel)); err != nil {
			t.Fatal(err)
		}
	}
	snap := "data/snapshots/" + snapshots[0]
	const segv, runs = -1, 0
	for _, c := range []struct {
		name   string
		damage func(r *rig)
		args   []string
		code   int
		want   string
	}{
		{"nothing", func(*rig) {}, nil, runs, `Blockchain started`},
		{"a flipped bit in the state", func(r *rig) { flip(r, "state/shared_memory.bin", runsBegin+5) }, nil, segv, ""},
		{"an empty state", func(r *rig) { cut(r, "state/shared_memory.bin", 0) }, nil, 254, "Failed to read DB header"},
		{"a cut off log", func(r *rig) { cut(r, "blocks/blocks.log", int64(len(r.read("blocks/blocks.log"))-5)) }, nil, 254, "block_log.cpp:261 block_num_at"},
		{"a log longer than its index", func(r *rig) { cut(r, "blocks/blocks.index", int64(len(r.read("blocks/blocks.index"))-8)) }, nil, 254, "does not match the last block position"},
		{"an index of odd length", func(r *rig) { cut(r, "blocks/blocks.index", 13) }, nil, 254, "please use spring-util to reconstruct the index"},
		{"a damaged header of the log", func(r *rig) { flip(r, "blocks/blocks.log", 2) }, nil, 254, "Block log version is 65539 while code supports version(s) [1,3]"},
		{"no index", func(r *rig) { remove(r, "blocks/blocks.index") }, nil, 254, "file is empty, please use spring-util"},
		{"no chain head", func(r *rig) { remove(r, "state/chain_head.dat") }, nil, 254, "No existing chain_head.dat file"},
		{"no blocks", func(r *rig) { remove(r, "blocks") }, nil, 254, "No existing fork database despite existing chain state. Replay required."},
		{"no state", func(r *rig) { remove(r, "state") }, nil, runs, `irreversible blocks replayed from block log`},
		{"the heads of another time", func(r *rig) {
			remove(r, "state/chain_head.dat")
			early.copyData(r, "state/chain_head.dat")
		}, nil, 254, "is inconsistent with state"},
		{"an older state", func(r *rig) {
			remove(r, "state")
			early.copyData(r, "state")
		}, nil, runs, `irreversible blocks replayed from block log`},
		{"older blocks", func(r *rig) {
			for _, p := range []string{"blocks/blocks.log", "blocks/blocks.index"} {
				remove(r, p)
				early.copyData(r, p)
			}
		}, nil, 254, "does not contain the last irreversible block"},
		{"an older state with its heads and newer blocks", func(r *rig) {
			for _, p := range []string{"state", "blocks/reversible"} {
				remove(r, p)
				early.copyData(r, p)
			}
		}, nil, runs, `irreversible blocks replayed from block log`},
		{"a snapshot alone", func(r *rig) { remove(r, "state"); remove(r, "blocks") }, []string{"--snapshot"}, runs, `Snapshot loaded`},
		{"a snapshot and blocks", func(r *rig) { remove(r, "state") }, []string{"--snapshot"}, runs, `irreversible blocks replayed from block log`},
		{"a snapshot and a state", func(*rig) {}, []string{"--snapshot"}, 254, "Snapshot can only be used to initialize an empty database"},
		{"a flipped bit in a snapshot", func(r *rig) {
			remove(r, "state")
			flip(r, "snapshots/"+snapshots[0], 500_000)
		}, []string{"--snapshot"}, 254, "3240000 snapshot_exception"},
		{"a cut off snapshot", func(r *rig) {
			remove(r, "state")
			cut(r, "snapshots/"+snapshots[0], 10_000)
		}, []string{"--snapshot"}, 254, "3240000 snapshot_exception"},
		{"a snapshot and blocks of another chain", func(r *rig) {
			remove(r, "state")
			remove(r, "blocks")
			other.copyData(r, "blocks")
		}, []string{"--snapshot"}, 254, "does not match the chain ID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := a.another("r")
			r.t = t
			a.copyData(r, "blocks", "state", "snapshots")
			c.damage(r)
			args := c.args
			if len(args) > 0 {
				args = append(args, r.path(snap))
			}
			if c.code == runs {
				q := r.start(args...)
				q.stderr.wait(t, 1, c.want)
				q.stderr.wait(t, 1, "for API categories")
				if code := q.term(); code != 0 {
					t.Error(code)
				}
				return
			}
			q := r.start(args...)
			if code := q.wait(); code != c.code || !strings.Contains(q.stderr.String(), c.want) {
				t.Errorf("exit code %d\n%s", code, tail(q.stderr.String()))
			}
			if ws, ok := q.cmd.ProcessState.Sys().(syscall.WaitStatus); c.code == segv && (!ok || ws.Signal() != syscall.SIGSEGV || strings.Contains(q.stderr.String(), "goroutine")) {
				t.Errorf("%v\n%s", q.cmd.ProcessState, q.stderr)
			}
		})
	}
}

// TestTruncatedStateHangs for ever and hears no SIGTERM (fact 21).
func TestTruncatedStateHangs(t *testing.T) {
	t.Parallel()
	r := newRig(t, "a", writeGenesis(t), keyConfig)
	p := r.start("-e", "--genesis-json", r.genesis)
	p.produced(2)
	p.term()
	if err := os.Truncate(r.path("data/state/shared_memory.bin"), 8<<20); err != nil {
		t.Fatal(err)
	}
	p = r.start("-e")
	p.stderr.wait(t, 1, `initializing chain plugin`)
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
		t.Error("it ended")
	case <-time.After(500 * time.Millisecond):
	}
	if text := p.stderr.String(); strings.Contains(text, "API categories") || strings.Contains(text, "quit called") {
		t.Error(tail(text))
	}
}

// TestSafetyFile is there from the first vote on, written in place, and a damaged one is refused.
func TestSafetyFile(t *testing.T) {
	t.Parallel()
	r := newRig(t, "a", writeGenesis(t), keyConfig, "sim-finalizer = true")
	p := r.start("-e", "--genesis-json", r.genesis)
	p.stderr.wait(t, 1, `finalizer safety persistence file \S+/data/finalizers/safety.dat does not exist`)
	p.produced(2)
	first := r.read("finalizers/safety.dat")
	p.produced(4)
	p.term()
	if last := r.read("finalizers/safety.dat"); len(last) != safetySize || bytes.Equal(first, last) {
		t.Error(len(last))
	}
	p = r.start("-e", "-x")
	p.stderr.wait(t, 1, "explicitly paused")
	p.term()
	r.write("data/finalizers/safety.dat", "damaged")
	if log, code := r.run("-e"); code != 254 || !strings.Contains(log, "3260001 finalizer_safety_exception") || !strings.Contains(log, "corrupted finalizer safety persistence file") {
		t.Error(code, tail(log))
	}
	if err := os.Remove(r.path("data/finalizers/safety.dat")); err != nil {
		t.Fatal(err)
	}
	p = r.start("-e", "-x") // nodeos wrote its state before it ended
	p.stderr.wait(t, 1, "explicitly paused")
}

// TestStrides are named, retained, archived and deleted as the options say, and replayed through.
func TestStrides(t *testing.T) {
	t.Parallel()
	r := newRig(t, "a", writeGenesis(t), keyConfig, "blocks-log-stride = 3")
	p := r.start("-e", "--genesis-json", r.genesis)
	p.stderr.wait(t, 1, `Produced block .* #9 `)
	p.signal(syscall.SIGKILL)
	<-p.done
	if got := fmt.Sprint(r.glob("blocks/blocks*")); !strings.HasPrefix(got, "[blocks-1-3.index blocks-1-3.log blocks-4-6.index blocks-4-6.log") {
		t.Error(got)
	}
	p = r.start("-e", "-x", "--replay-blockchain")
	p.stderr.wait(t, 1, `existing block log, attempting to replay from 2 to \d`)
	p.stderr.wait(t, 1, "explicitly paused")
	if _, body := p.post("/v1/chain/get_block_info", `{"block_num":2}`); !strings.Contains(body, `"block_num":2`) {
		t.Error("a block of a stride cannot be read:", body)
	}
	p.term()
	if err := errors.Join(os.Remove(r.path("data/blocks/blocks.log")), os.Remove(r.path("data/blocks/blocks.index"))); err != nil {
		t.Fatal(err)
	}
	p = r.start("-e", "-x", "--replay-blockchain") // the strides alone will do
	p.stderr.wait(t, 1, "explicitly paused")
	p.term()

	r.config = append(r.config, "max-retained-block-files = 1", "blocks-archive-dir = cold")
	p = r.start("-e")
	p.produced(4)
	p.term()
	if kept, cold := r.glob("blocks/blocks-*.log"), r.glob("blocks/cold/*"); len(kept) != 1 || len(cold) < 4 || cold[1] != "blocks-1-3.log" {
		t.Error(kept, cold)
	}
	log, code := r.run("-e", "--replay-blockchain")
	if code != 254 || !strings.Contains(log, "without a full block log, first block:") {
		t.Error(code, tail(log))
	}
}

// TestSnapshotNeverAnswersOnAStandingChain and leaves its file behind when the node is killed (facts 22, 26).
func TestSnapshotNeverAnswersOnAStandingChain(t *testing.T) {
	t.Parallel()
	r := newRig(t, "a", writeGenesis(t), keyConfig)
	p := r.start("-e", "--genesis-json", r.genesis)
	p.produced(3)
	p.post("/v1/producer/pause", "")
	p.stderr.wait(t, 1, "explicitly paused")
	hangs := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.http+"/v1/producer/create_snapshot", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			t.Error("it answered", resp.Status)
		}
		if len(r.glob("snapshots/.pending-*")) != 1 || len(r.glob("snapshots/snapshot-*"))+len(r.glob("snapshots/.incomplete-*")) != 0 {
			t.Error(r.glob("snapshots/*"), r.glob("snapshots/.*"))
		}
	}
	hangs()
	p.signal(syscall.SIGKILL)
	<-p.done
	p = r.start("-e", "-x", "--replay-blockchain")
	p.stderr.wait(t, 1, "explicitly paused")
	if len(r.glob("snapshots/.pending-*")) != 1 {
		t.Error("the leftover went")
	}
	if err := os.RemoveAll(r.path("data/snapshots")); err != nil {
		t.Fatal(err)
	}
	hangs() // the head is irreversible now, and yet
	p.post("/v1/producer/resume", "")
	p.stderr.wait(t, 1, `Snapshot created at block \d+ available at`)

	// Of one block there is one snapshot.
	found := r.glob("snapshots/snapshot-*.bin")
	p.term()
	q := r.another("b")
	r.copyData(q, "snapshots")
	s := q.start("-x", "--snapshot", q.path("data/snapshots", found[0]))
	s.stderr.wait(t, 1, "for API categories")
	if code, body := q.post("/v1/producer/create_snapshot", ""); code != 500 || !strings.Contains(body, "snapshot_exists_exception") {
		t.Error(code, body)
	}
}
