package node

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// logText is a log that a test may read while it is written.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// sidecarRig is a rig whose program a test may change, and the log of its sidecars.
type sidecarRig struct {
	*rig
	notes   string // what the sidecars note
	program atomic.Pointer[Program]
	log     *logText
	events  atomic.Int64 // of blocks
}

// sidecar is one that behaves so; its name is its mode.
func (r *sidecarRig) sidecar(mode string) Sidecar {
	ini, err := os.ReadFile(r.dir + "/config/config.ini")
	if err != nil {
		r.t.Fatal(err)
	}
	return Sidecar{Name: mode, Path: os.Args[0], Args: []string{mode, r.notes, strings.TrimPrefix(string(ini), "http-server-address = ")},
		Env: []string{"NODE_TEST_ROLE=sidecar", "SIDECAR_WORD=salt"}}
}

func (r *sidecarRig) choose(modes ...string) {
	p := Program{Path: os.Args[0], Env: append(os.Environ(), "NODE_TEST_ROLE=nodeos", "NODE_WORD=pepper")}
	for _, m := range modes {
		p.Sidecars = append(p.Sidecars, r.sidecar(m))
	}
	r.program.Store(&p)
}

func newSidecarRig(t *testing.T, change func(*Config), modes ...string) *sidecarRig {
	t.Helper()
	r := &sidecarRig{log: &logText{}}
	r.rig = newRig(t, "ok", func(c *Config) {
		c.StartDown = true
		c.Program = func(context.Context) (Program, error) { return *r.program.Load(), nil }
		c.Pipeline = NewPipeline(PipelineConfig{Sidecar: slog.New(slog.NewTextHandler(r.log, nil)), OnEvent: func(e Event) {
			if e.Kind == EventProduced {
				r.events.Add(1)
			}
		}})
		r.notes = c.DataDir + "/crew"
		if change != nil {
			change(c)
		}
	})
	t.Cleanup(r.cfg.Pipeline.Close)
	r.choose(modes...)
	return r
}

// crewIs waits until the sidecars are in these states.
func (r *sidecarRig) crewIs(states ...State) Status {
	r.t.Helper()
	return r.until("the crew "+string(states[0]), func(st Status) bool {
		if len(st.Sidecars) != len(states) {
			return false
		}
		for i, s := range states {
			if st.Sidecars[i].State != s {
				return false
			}
		}
		return true
	})
}

func (r *sidecarRig) noted() string {
	b, _ := os.ReadFile(r.notes)
	return strings.ReplaceAll(strings.TrimSpace(string(b)), "\n", ", ")
}

// TestSidecarsLiveWithTheNode: started when it is up, stopped before it is, and those of the next version after that.
func TestSidecarsLiveWithTheNode(t *testing.T) {
	r := newSidecarRig(t, nil, "ok")
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	st := r.crewIs(StateRunning)
	sc := st.Sidecars[0]
	if pgid := must[int](t)(unix.Getpgid(sc.PID)); pgid != sc.PID || sc.Name != "ok" || sc.PID == st.PID {
		t.Error("no process group of its own", pgid, sc)
	}
	eventually(t, 10*time.Second, func() bool { return strings.Contains(r.log.String(), "#27") })
	if log := r.log.String(); !strings.Contains(log, `msg="hello of ok salt pepper" part="sidecar ok"`) {
		t.Error(log)
	}
	if r.events.Load() != 0 || strings.Contains(strings.Join(r.cfg.Pipeline.Lines(0), "\n"), "#27") {
		t.Error("a sidecar's line was taken for nodeos' own")
	}
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.noted(); got != "ok up node=up, ok down node=up" {
		t.Error(got)
	}
	if st := r.Status(); len(st.Sidecars) != 1 || st.Sidecars[0].State != StateStopped || st.Sidecars[0].PID != 0 || !st.LastExit.Asked || st.LastExit.Cause != CauseClean {
		t.Error(st)
	}
	r.choose()
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := r.Status(); len(st.Sidecars) != 0 {
		t.Error("sidecars of another version", st)
	}
	r.choose("ok")
	if err := r.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	pid := r.crewIs(StateRunning).Sidecars[0].PID
	r.end() // shutdown
	if err := unix.Kill(pid, 0); err == nil {
		t.Error("it outlived the supervisor")
	}
}

// TestSidecarThatEndsByItself is started again and then left alone; neither the node nor the others mind.
func TestSidecarThatEndsByItself(t *testing.T) {
	r := newSidecarRig(t, nil, "exits", "ok")
	missing := r.sidecar("missing")
	missing.Path = "/nonexistent/sidecar"
	p := *r.program.Load()
	p.Sidecars = append(p.Sidecars, missing, Sidecar{Name: "no path"})
	r.program.Store(&p)
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	st := r.crewIs(StateFailed, StateRunning, StateFailed, StateFailed)
	all := st.Sidecars
	if st.State != StateRunning || st.Starts != 1 || st.LastExit != nil {
		t.Error("the node was touched", st)
	}
	if all[0].Reason != "exit code 3" || all[0].Restarts != 4 || all[0].PID != 0 || !strings.Contains(all[2].Reason, "no such file") || all[3].Reason != "no path" || all[1].Restarts != 0 {
		t.Error(st)
	}
	if n := strings.Count(r.noted(), "exits up"); n != 5 {
		t.Errorf("%d starts, the budget has 5 exits", n)
	}
	r.choose("exits", "ok")
	if err := r.Restart(t.Context()); err != nil { // and the next start gives it another chance
		t.Fatal(err)
	}
	r.crewIs(StateFailed, StateRunning)
	if n := strings.Count(r.noted(), "exits up"); n != 10 {
		t.Errorf("%d starts", n)
	}
}

// TestStubbornSidecar does not keep the node from stopping.
func TestStubbornSidecar(t *testing.T) {
	r := newSidecarRig(t, func(c *Config) { c.Patience = 100 * time.Millisecond }, "stubborn")
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	pid := r.crewIs(StateRunning).Sidecars[0].PID
	eventually(t, 10*time.Second, func() bool { return strings.Contains(r.noted(), "up") }) // it listens to signals by now
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.noted(); got != "stubborn up node=up, stubborn down node=up" {
		t.Error(got)
	}
	if err := unix.Kill(pid, 0); err == nil {
		t.Error("it is alive")
	}
	if e := r.Status().LastExit; e.Cause != CauseClean {
		t.Error(e)
	}
}

// TestSidecarsOfANodeThatDied: they are stopped, the node comes back without waiting for them, and new ones follow the old.
func TestSidecarsOfANodeThatDied(t *testing.T) {
	r := newSidecarRig(t, func(c *Config) { c.Patience = 500 * time.Millisecond }, "stubborn")
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	st := r.crewIs(StateRunning)
	eventually(t, 10*time.Second, func() bool { return strings.Contains(r.noted(), "up") })
	old, starts := st.Sidecars[0].PID, st.Starts
	r.Kill()
	r.until("running again", func(s Status) bool { return s.State == StateRunning && s.Starts > starts })
	st = r.crewIs(StateRunning)
	if now := st.Sidecars[0].PID; now == old || unix.Kill(old, 0) == nil {
		t.Error("the old one is there", old, now)
	}
}

func TestTuneTheBudget(t *testing.T) {
	r := newRig(t, "exit254", func(c *Config) { c.StartDown = true })
	r.Tune(Tuning{Budget: Budget{Exits: 2, Min: time.Millisecond}})
	_ = r.Start(t.Context())
	if st := r.until("failed", isState(StateFailed)); st.Starts != 2 {
		t.Error(st)
	}
	if got := r.tuned(); got.StopTimeout != time.Minute || got.Budget.Window != 10*time.Minute {
		t.Errorf("zero fields want their defaults: %+v", got)
	}
}

// TestSidecarFloodPushesNothingOut: what is too much of a sidecar is dropped, nodeos' own lines are not.
func TestSidecarFloodPushesNothingOut(t *testing.T) {
	c := &catcher{block: make(chan struct{})}
	p := NewPipeline(PipelineConfig{Log: slog.New(c)})
	for range 10 * sideQueue {
		p.SidecarLine("x", []byte("flood\n"))
	}
	before := p.Stats().Dropped
	if before < 8*sideQueue {
		t.Errorf("%d dropped", before)
	}
	for range recordQueue / 2 {
		p.Line("stderr", []byte("info  2026-11-21T00:34:32.241 nodeos    main.cpp:158                  main                 ] nodeos started"))
	}
	p.SidecarLine("x", []byte("signature-provider = A=KEY:5KQwrPbwdL6PhXujxW37FSSQZ1JiwsST4cqQzDeyXtP79zkvFD3"))
	if now := p.Stats().Dropped; now > before+1 {
		t.Errorf("%d of nodeos' own lines were dropped", now-before)
	}
	close(c.block)
	p.Close()
	own := 0
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, line := range c.got {
		if strings.Contains(line, "5KQ") {
			t.Error("a private key in the log")
		}
		if strings.Contains(line, "nodeos started") {
			own++
		}
	}
	if own != recordQueue/2 {
		t.Errorf("%d of %d lines of nodeos", own, recordQueue/2)
	}
}
