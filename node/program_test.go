package node

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

// TestProgramIsAskedBeforeEachStart: also before a start after a crash, and what it says is what runs and what Status tells.
func TestProgramIsAskedBeforeEachStart(t *testing.T) {
	var asked atomic.Int64
	var chosen atomic.Pointer[Program]
	choose := func(p Program) {
		p.Path, p.Env = os.Args[0], append(os.Environ(), "NODE_TEST_ROLE=nodeos")
		chosen.Store(&p)
	}
	var prepared []string // by Run's goroutine, read when it waits
	choose(Program{Tag: "v1.2.2", Args: []string{"--one"}})
	r := newRig(t, "ok", func(c *Config) {
		c.Path, c.Env = "", nil
		c.Program = func(context.Context) (Program, error) { asked.Add(1); return *chosen.Load(), nil }
		c.Prepare = func(_ context.Context, p Program) error { prepared = append(prepared, p.Tag); return nil }
	})
	st := r.until("running", isState(StateRunning))
	if st.Tag != "v1.2.2" || st.Path != os.Args[0] {
		t.Error(st)
	}
	choose(Program{Tag: "v1.2.3", Args: []string{"--two"}})
	if st = r.Status(); st.Tag != "v1.2.2" {
		t.Error("the running program is another one without a start", st)
	}
	if err := r.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st = r.Status(); st.Tag != "v1.2.3" {
		t.Error(st)
	}
	choose(Program{Tag: "v1.2.4", Args: []string{"--three"}})
	r.Kill() // a dirty state: the start that finds it, and the replay
	r.until("running again", func(s Status) bool { return s.State == StateRunning && s.Tag == "v1.2.4" })
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if starts := r.starts(); len(starts) != 4 || !strings.Contains(starts[0], " --one") || !strings.Contains(starts[1], " --two") ||
		!strings.Contains(starts[2], " --three") || !strings.Contains(starts[3], " --three --replay-blockchain") {
		t.Error(strings.Join(starts, "\n"))
	}
	if n := asked.Load(); n != 4 || strings.Join(prepared, " ") != "v1.2.2 v1.2.3 v1.2.4 v1.2.4" {
		t.Error(n, prepared)
	}
}

// TestProgramThatCannotStart: nothing is started, the cause and a hint are told, and the next answer counts.
func TestProgramThatCannotStart(t *testing.T) {
	var answer atomic.Pointer[func() (Program, error)]
	set := func(f func() (Program, error)) { answer.Store(&f) }
	r := newRig(t, "ok", func(c *Config) {
		c.StartDown, c.Budget.Exits = true, 1
		c.Program = func(context.Context) (Program, error) { return (*answer.Load())() }
	})
	good := Program{Tag: "good", Path: os.Args[0], Env: append(os.Environ(), "NODE_TEST_ROLE=nodeos")}
	for name, c := range map[string]struct {
		f    func() (Program, error)
		want string
	}{
		"error":     {func() (Program, error) { return Program{}, errors.New("current points nowhere") }, "program: current points nowhere"},
		"no path":   {func() (Program, error) { return Program{Tag: "v9"}, nil }, "program v9: no path"},
		"arguments": {func() (Program, error) { p := good; p.Args = []string{"--data-dir=/x"}; return p, nil }, "argument --data-dir is refused"},
		"no binary": {func() (Program, error) { p := good; p.Path = "/nonexistent/nodeos"; return p, nil }, "no such file"},
	} {
		set(c.f)
		if err := r.Start(t.Context()); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), c.want) {
			t.Error(name, err)
		}
		if st := r.Status(); st.LastExit == nil || st.LastExit.Cause != CauseCannotStart || st.Hint == "" || st.PID != 0 {
			t.Error(name, st)
		}
	}
	set(func() (Program, error) { return good, nil })
	if err := r.Start(t.Context()); err != nil {
		t.Error(err)
	}
	if starts := r.starts(); len(starts) != 1 {
		t.Error(starts)
	}
}
