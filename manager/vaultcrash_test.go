package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"roundtable/chain"
	"roundtable/cmd/roundtable/config"
	"roundtable/fsm"
	"roundtable/node"
	"roundtable/node/gate"
)

// Ids of backups in these tests.
const (
	dataID = "20260101-000000-data"
	shotID = "20260101-000001-shot"
)

// dying runs a scenario in a process that kills itself behind the n-th change of the disk. It returns the name of that change, "" where the
// process came through.
func (r *rig) dying(scenario string, n int) string {
	r.t.Helper()
	helper := exec.Command(must[string](r.t)(os.Executable()), "-test.run=^$")
	helper.Env = append(os.Environ(), "MANAGER_TEST_HOME="+r.cfg.Manager.Home, "MANAGER_TEST_SCENARIO="+scenario, "MANAGER_TEST_KILL="+strconv.Itoa(n),
		"MANAGER_TEST_ADDRS="+r.cfg.Node.HTTP+" "+r.cfg.Node.P2P+" "+r.bin, "MANAGER_TEST_REPOSITORY="+r.cfg.Backup.Repositories["main"].URL)
	out, err := helper.CombinedOutput()
	if err == nil {
		return ""
	}
	if status, ok := helper.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		r.t.Fatalf("%s, killed at %d: %v\n%s", scenario, n, err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// dyingConfig is the configuration of the process that is killed, as that of its parent.
func dyingConfig(home string) *config.Config {
	addrs := strings.Fields(os.Getenv("MANAGER_TEST_ADDRS"))
	c := rigConfig(home, addrs[2], addrs[0], addrs[1])
	c.Node.Args = append(c.Node.Args, "--sim-calibration", "10ms")
	c.Backup.Repositories = map[string]config.Repository{"main": {URL: os.Getenv("MANAGER_TEST_REPOSITORY")}}
	c.Backup.Repository, c.Backup.Scratch = "main", filepath.Join(home, "backup", "scratch")
	return c
}

// dieAt ends this process behind the n-th change of the disk.
func dieAt(n int) func(string) {
	return func(op string) {
		if n--; n == 0 {
			_, _ = os.Stdout.WriteString("\n" + op)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}
}

// playAndDie is the process that is killed.
func playAndDie(home, scenario string) error {
	n, err := strconv.Atoi(os.Getenv("MANAGER_TEST_KILL"))
	if err != nil {
		return err
	}
	c := dyingConfig(home)
	log := slog.New(slog.DiscardHandler)
	ring := func(string, string, string) {}
	if scenario == "swap" || scenario == "back" {
		h, err := openHome(c, rigSettings(c), ring, time.Now, log)
		if err != nil {
			return err
		}
		v, err := openVault(h, time.Now, log)
		if err != nil {
			return err
		}
		v.step = dieAt(n)
		if err := v.swapData(7, dataID, v.data(sideFolder, dataID), "", ""); err != nil || scenario == "swap" {
			return err
		}
		return v.putBack()
	}
	ctx := context.Background()
	l, err := openLocal(ctx, c, nil, time.Now, ring, log)
	if err != nil {
		return err
	}
	l.saw, l.mismatch = func(chain.Block, string) {}, func(chain.Block, string, string) {}
	l.vault.step = dieAt(n)
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- l.run(running) }()
	if err := l.supervisor.Start(ctx); err != nil {
		return err
	}
	now := chain.SlotAt(time.Now().UnixMilli())
	l.gate.Permit(gate.Permit{Epoch: 1, First: now, Last: now + 7200})
	if err := l.node.Resume(ctx); err != nil {
		return err
	}
	if err := l.play(ctx, scenario); err != nil {
		return err
	}
	cancel()
	return <-ended
}

// play does an operation as the controllers would.
func (l *local) play(ctx context.Context, scenario string) error {
	v := l.vault
	data, shot := task(1, fsm.KindBackup, fsm.CopiesData, dataID), task(2, fsm.KindBackup, fsm.CopiesSnapshot, shotID)
	switch scenario {
	case "data":
		_, err := v.Store(ctx, data, quiet)
		if err == nil {
			return nil
		}
		if err := errors.Join(v.Prepare(ctx, data, quiet), v.Copy(ctx, data, quiet)); err != nil {
			return err
		}
		_, err = v.Store(ctx, data, quiet)
		return err
	case "shot":
		if err := v.Snapshot(ctx, shot, quiet); err != nil {
			return err
		}
		_, err := v.Store(ctx, shot, quiet)
		return err
	}
	id, back := dataID, scenario == "undo"
	if scenario == "restore shot" {
		id = shotID
	}
	t := task(3, fsm.KindRestore, "", id)
	if err := v.Fetch(ctx, t, quiet); err != nil {
		return err
	}
	err := v.Replace(ctx, t, quiet)
	if again := back && err != nil && strings.Contains(err.Error(), "its former data comes back"); err != nil && !again {
		return err
	}
	return v.Settle(ctx, t, back)
}

// TestACrashWhileReplacing kills the process behind each change of the disk that moves the node's data: the next one finds the former or
// the new data, each whole, and can do it again.
func TestACrashWhileReplacing(t *testing.T) {
	for _, scenario := range []string{"swap", "back"} {
		points := map[string]bool{}
		for n := 1; ; n++ {
			r := newRig(t)
			r.repository("main", t.TempDir())
			data := r.cfg.Node.DataDir
			for name, text := range map[string]string{
				"blocks/blocks.log": "old", "state/shared_memory.bin": "old", "state-history/x": "old", "finalizers/safety.dat": "votes", "snapshots/s": "stays",
				"restore/" + dataID + "/blocks/blocks.log": "new", "restore/" + dataID + "/state/shared_memory.bin": "new", "restore/" + dataID + "/finalizers/safety.dat": "bad",
			} {
				r.write(name, text, data+"/")
			}
			op := r.dying(scenario, n)
			if op == "" {
				break
			}
			points[op] = true
			at := fmt.Sprintf("%s, killed at %d, %s", scenario, n, op)
			h := must[*home](t)(r.openHome())
			v := must[*vault](t)(openVault(h, time.Now, r.logger()))
			h.vault = v
			have := r.whole(at)
			_, in := v.unsettled()
			if want := map[bool]string{true: "new", false: "old"}[in]; have != want {
				t.Errorf("%s: %s, the journal says %s", at, have, want)
			}
			if scenario == "back" && in {
				if err := v.putBack(); err != nil || r.whole(at) != "old" {
					t.Errorf("%s: put back: %v", at, err)
				}
			}
			if scenario == "swap" && !in {
				if err := v.swapData(7, dataID, v.data(sideFolder, dataID), "", ""); err != nil || r.whole(at) != "new" {
					t.Errorf("%s: again: %v", at, err)
				}
			}
			if _, err := h.program(t.Context()); err != nil {
				t.Errorf("%s: %v", at, err)
			}
			if n > 40 {
				t.Fatalf("%s never came through", scenario)
			}
		}
		if want := map[string]int{"swap": 5, "back": 7}[scenario]; len(points) < want {
			t.Errorf("%s: killed at %v", scenario, slices.Sorted(maps.Keys(points)))
		}
	}
}

// whole tells which data lies in its place: all of the old, or all of the new.
func (r *rig) whole(at string) string {
	r.t.Helper()
	read := func(name string) string {
		text, _ := os.ReadFile(filepath.Join(r.cfg.Node.DataDir, name))
		return string(text)
	}
	if read("finalizers/safety.dat") != "votes" || read("snapshots/s") != "stays" {
		r.t.Errorf("%s: what is not to be touched was", at)
	}
	got := read("blocks/blocks.log")
	if state, history := read("state/shared_memory.bin"), read("state-history/x"); state != got || got == "old" && history != "old" || got == "new" && history != "" {
		r.t.Errorf("%s: blocks %q, state %q, history %q", at, got, state, history)
	}
	return got
}

// TestAManagerKilledInAnOperation kills the manager behind every second change that an operation makes here, with ROUNDTABLE_FULL=1 behind each: the next one's node comes up by
// itself, and the operation, done again, comes to its end.
func TestAManagerKilledInAnOperation(t *testing.T) {
	if testing.Short() {
		t.Skip("builds simnodeos")
	}
	for _, scenario := range []string{"data", "shot", "restore", "restore shot", "undo"} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			first := newVaultRig(t)
			first.cfg.Backup.Scratch = ""
			first.start()
			first.produce()
			first.head(5)
			for _, s := range map[string][]string{"restore": {"data"}, "restore shot": {"shot"}, "undo": {"data"}}[scenario] {
				if err := first.play(t.Context(), s); err != nil {
					t.Fatal(err)
				}
				first.produce()
			}
			first.head(8)
			first.end()
			points, stride := map[string]bool{}, 2
			if os.Getenv("ROUNDTABLE_FULL") != "" {
				stride = 1
			}
			for n := 1; ; n += stride {
				if n > 40 {
					t.Fatal("it never came through")
				}
				r := first.copied(t)
				op := r.dying(scenario, n)
				if op == "" {
					break
				}
				points[op] = true
				r.start() // by itself, whatever lies there
				r.head(4)
				r.produce()
				if err := r.play(t.Context(), scenario); err != nil {
					t.Errorf("killed at %d, %s: again: %v", n, op, err)
				}
				r.produce()
				r.head(r.head(0).HeadNum)
				if err := r.vault.Forget(t.Context(), func(string) bool { return false }); err != nil {
					t.Errorf("killed at %d, %s: %v", n, op, err)
				}
				if _, ok := r.vault.unsettled(); ok {
					t.Errorf("killed at %d, %s: it is not settled", n, op)
				}
				r.end()
				if c, err := node.Holds(r.cfg.Node.DataDir); err != nil || !c.Clean() || len(c.Leftovers) > 0 {
					t.Errorf("killed at %d, %s: %+v, %v", n, op, c, err)
				}
			}
			if len(points) < 3 {
				t.Errorf("killed at %v", slices.Sorted(maps.Keys(points)))
			}
		})
	}
}

// copied is a rig with a copy of the home and the repository of another one that has ended.
func (r *rig) copied(t *testing.T) *rig {
	t.Helper()
	home, repository := t.TempDir(), filepath.Join(t.TempDir(), "repository")
	for from, to := range map[string]string{r.cfg.Manager.Home: home, strings.TrimPrefix(r.cfg.Backup.Repositories["main"].URL, "file://"): repository} {
		if out, err := exec.Command("cp", "-a", from+"/.", to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	next := &rig{t: t, bin: r.bin}
	next.cfg = rigConfig(home, r.bin, freeAddr(t), freeAddr(t))
	next.cfg.Node.Args = append(next.cfg.Node.Args, "--sim-calibration", "10ms")
	next.repository("main", repository)
	return next
}
