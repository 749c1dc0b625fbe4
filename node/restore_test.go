package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"roundtable/durable"
)

// simRig is a supervisor with a simnodeos as a standby of a chain.
func simRig(t *testing.T, c *simChain, peer string, change func(*Config)) *rig {
	t.Helper()
	dir, http := t.TempDir(), freeAddr(t)
	s := Settings{HTTP: http, P2P: freeAddr(t), AgentName: "b", Template: "chain-state-db-size-mb = 16\nsim-calibration = 10ms\n"}
	if peer != "" {
		s.Peers = []string{peer}
	}
	if err := durable.Write(dir+"/config/config.ini", must[Built](t)(Build(s)).Text); err != nil {
		t.Fatal(err)
	}
	client := must[*Client](t)(NewClient(ClientConfig{Addr: http}))
	t.Cleanup(client.Close)
	return newRig(t, "", func(cfg *Config) {
		cfg.Path, cfg.Env, cfg.ConfigDir, cfg.DataDir, cfg.Client, cfg.StartDown = c.bin, nil, dir+"/config", dir+"/data", client, true
		if change != nil {
			change(cfg)
		}
	})
}

// TestRestoredNode: a standby starts from another node's data and from its snapshot, syncs, stops cleanly, and is told apart from a
// dirty one.
func TestRestoredNode(t *testing.T) {
	c := newSimChain(t, buildSim(t))
	c.past(4)
	snap := must[Snapshot](t)(c.client.CreateSnapshot(t.Context()))
	if have := must[Contents](t)(Holds(c.dir + "/data")); len(have.Snapshots) != 1 || have.Snapshots[0].Path != snap.Path || have.Snapshots[0].Num != snap.HeadNum {
		t.Errorf("%+v %+v", snap, have)
	}
	c.past(snap.HeadNum + 1)
	c.end(syscall.SIGTERM)
	p2p := freeAddr(t)
	stopped := t.TempDir()
	c.copyTo(stopped, "blocks", "state")
	c.start("--p2p-listen-endpoint", p2p)
	head := c.past(snap.HeadNum + 3)

	synced := func(r *rig) {
		t.Helper()
		eventually(t, 20*time.Second, func() bool {
			info, err := r.cfg.Client.Info(t.Context())
			return err == nil && info.ChainID == head.ChainID && info.HeadNum > head.HeadNum
		})
	}
	fill := func(r *rig) {
		t.Helper()
		for _, f := range []string{"blocks", "state"} {
			if err := errors.Join(os.RemoveAll(filepath.Join(r.cfg.DataDir, f)), os.Rename(filepath.Join(stopped, "data", f), filepath.Join(r.cfg.DataDir, f))); err != nil {
				t.Fatal(err)
			}
		}
	}

	r := simRig(t, c, p2p, func(cfg *Config) { cfg.Recover = RecoverStay })
	fill(r)
	if err := r.StoppedCleanly(); err != nil { // never started here, and whole
		t.Error(err)
	}
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.StoppedCleanly(); !errors.Is(err, ErrNotClean) {
		t.Error("it runs:", err)
	}
	synced(r)
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.StoppedCleanly(); err != nil {
		t.Error(err)
	}

	// Killed, it is dirty, stays down, and says so; a replay brings it back.
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Kill()
	st := r.until("down", isState(StateFailed))
	if !st.LastExit.Dirty() || !strings.Contains(st.Reason, "dirty") {
		t.Error(st)
	}
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.StoppedCleanly(); !errors.Is(err, ErrNotClean) {
		t.Error(err)
	}
	if err := r.Start(t.Context(), "--replay-blockchain"); err != nil {
		t.Fatal(err)
	}
	synced(r)

	// From the snapshot alone, as a one-off; the next start is a plain one.
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"blocks", "state"} {
		if err := os.RemoveAll(filepath.Join(r.cfg.DataDir, f)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Start(t.Context(), "--snapshot", snap.Path); err != nil {
		t.Fatal(err)
	}
	synced(r)
	if err := r.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	synced(r)
	c.end(syscall.SIGTERM)
}

// TestKilledBeforeItWasUp: a start from a snapshot that was cut short leaves a state that no plain start takes, and none is tried.
func TestKilledBeforeItWasUp(t *testing.T) {
	c := newSimChain(t, buildSim(t))
	c.past(4)
	snap := must[Snapshot](t)(c.client.CreateSnapshot(t.Context()))
	info := c.past(snap.HeadNum)
	c.end(syscall.SIGTERM)

	slow := true
	r := simRig(t, c, "", func(cfg *Config) {
		bin := cfg.Path
		cfg.Path = ""
		cfg.Program = func(context.Context) (Program, error) {
			if slow {
				return Program{Path: bin, Args: []string{"--sim-slow-start", "1h"}}, nil
			}
			return Program{Path: bin}, nil
		}
	})
	started := make(chan error, 1)
	go func() { started <- r.Start(t.Context(), "--snapshot", snap.Path) }()
	memory := r.cfg.DataDir + "/state/shared_memory.bin"
	eventually(t, 10*time.Second, func() bool { _, held := locker(memory); return held })
	r.Kill()
	if err := <-started; !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	if st := r.Status(); st.State != StateFailed || st.Starts != 1 || st.LastExit.Cause != CauseKilled || !st.LastExit.Suspect {
		t.Error(st)
	}

	// A plain start says dirty. It is not replayed: there are no blocks, so that a replay would begin another chain.
	slow = false
	if err := r.Start(t.Context()); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "not all there") {
		t.Error(err)
	}
	if st := r.Status(); st.Starts != 2 || !st.LastExit.Dirty() {
		t.Error(st)
	}
	if err := r.Start(t.Context(), "--snapshot", snap.Path); !errors.Is(err, ErrFailed) || r.Status().LastExit.Cause != CauseBadSnapshot {
		t.Error(err)
	}
	if err := os.RemoveAll(filepath.Dir(memory)); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context(), "--snapshot", snap.Path); err != nil {
		t.Fatal(err)
	}
	if got := must[Info](t)(r.cfg.Client.Info(t.Context())); got.ChainID != info.ChainID || got.HeadNum != snap.HeadNum {
		t.Error(got)
	}
}

// TestSnapshotOfAStandingChain: only ctx ends it; what nodeos goes on with is finished later, or stays behind until the next start.
func TestSnapshotOfAStandingChain(t *testing.T) {
	c := newSimChain(t, buildSim(t))
	c.past(3)
	if err := c.client.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	data := DefaultLayout(c.dir + "/data")
	has := func(finished, leftovers int) func() bool {
		return func() bool {
			have := must[Contents](t)(data.Holds())
			return len(have.Snapshots) == finished && len(have.Leftovers) == leftovers
		}
	}
	hangs := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if s, err := c.client.CreateSnapshot(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(s, err)
		}
	}
	c.standsStill()
	hangs()
	hangs()
	if !has(0, 1)() { // of one head there is one
		t.Error(must[Contents](t)(data.Holds()))
	}
	if err := c.client.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, has(1, 0))

	if err := c.client.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.standsStill()
	hangs()
	c.end(syscall.SIGKILL)
	if !has(1, 1)() {
		t.Error(must[Contents](t)(data.Holds()))
	}

	// Under a supervisor the next start clears it away; and a node whose head has its snapshot says so.
	r := simRig(t, c, "", nil)
	c.copyTo(filepath.Dir(r.cfg.DataDir), "blocks", "state", "snapshots")
	if err := r.Start(t.Context()); err != nil { // a replay
		t.Fatal(err)
	}
	data = DefaultLayout(r.cfg.DataDir)
	if !has(1, 0)() {
		t.Error(must[Contents](t)(data.Holds()))
	}
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	have := must[Contents](t)(data.Holds())
	if err := errors.Join(os.RemoveAll(data.State), os.RemoveAll(data.Blocks)); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context(), "--snapshot", have.Snapshots[0].Path); err != nil {
		t.Fatal(err)
	}
	if _, err := r.cfg.Client.CreateSnapshot(t.Context()); !errors.Is(err, ErrSnapshotExists) {
		t.Error(err)
	}
}
