package node

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestExitCausesOfRecordedRuns classifies the exit codes and last lines of real nodeos runs (b-logs, d-deep-mind, j-savanna).
func TestExitCausesOfRecordedRuns(t *testing.T) {
	want := map[string]struct {
		cause   Cause
		detail  string // part of it
		suspect bool
	}{
		"clean":                 {CauseClean, "", false},
		"unknown-option":        {CauseConfig, "Unknown option '--no-such-option'", false},
		"unknown-config-option": {CauseConfig, "Unknown option 'no-such-option' inside the config file", false},
		"bad-config-value":      {CauseConfig, "the argument ('banana') for option 'net-threads' is invalid", false},
		"unknown-plugin":        {CauseConfig, "unable to find plugin: eosio::nope_plugin", false},
		"malformed-signer":      {CauseBadSigner, "garbage", false},
		"key-mismatch":          {CauseBadSigner, "KEY:***", false},
		"http-port":             {CausePortInUse, "unable to listen on 127.0.0.1:18801", false},
		"p2p-port":              {CausePortInUse, "unable to listen on 127.0.0.1:18901", false},
		"corrupt-header":        {CauseCorruptState, "not compatible", false},
		"corrupt-middle":        {CauseSIGSEGV, "", true},
		"empty-memory":          {CauseCorruptState, "Failed to read DB header", false},
		"truncated-blocks":      {CauseCorruptBlocks, "", false},
		"corrupt-blocks":        {CauseCorruptBlocks, "", false},
		"corrupt-replay":        {CauseCorruptBlocks, "", false},
		"missing-index":         {CauseCorruptBlocks, "", false},
		"corrupt-forkdb":        {CauseReplayRequired, "Replay required", false},
		"missing-forkdb":        {CauseReplayRequired, "Replay required", false},
		"missing-chain-head":    {CauseReplayRequired, "chain_head.dat", false},
		"no-snapshot":           {CauseBadSnapshot, "none.bin does not exist", false},
		"bad-snapshot":          {CauseBadSnapshot, "", false},
		"snapshot-with-state":   {CauseBadSnapshot, "", false},
		"genesis-mismatch":      {CauseGenesis, "does not match", false},
		"genesis-missing":       {CauseGenesis, "nope.json", false},
		"bad-alloc":             {CauseOutOfMemory, "bad alloc", false},
		"space":                 {CauseDiskFull, "exceeded file system", false},
		"build-info":            {CauseManagement, "", false},
		"second-process":        {CauseDirty, "replay required", true},
		"dirty":                 {CauseDirty, "replay required", true},
		"killed":                {CauseKilled, "", true},
		"replay-refused":        {CauseReplayRefused, "first block: 22", false},
		"safety-corrupt":        {CauseSafetyFile, "", false},
	}
	files := must[[]string](t)(filepath.Glob("testdata/exits/*.txt"))
	if len(files) != len(want) {
		t.Errorf("%d recordings, %d expectations", len(files), len(want))
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(name, func(t *testing.T) {
			text := string(must[[]byte](t)(os.ReadFile(file)))
			first, rest, _ := strings.Cut(text, "\n")
			code := must[int](t)(strconv.Atoi(strings.TrimPrefix(first, "code ")))
			var sig syscall.Signal
			if code < 0 {
				sig, code = syscall.Signal(-code), -1
			}
			p := NewPipeline(PipelineConfig{})
			defer p.Close()
			if err := p.Read("stderr", strings.NewReader(rest)); err != nil {
				t.Fatal(err)
			}
			cause, detail, suspect := classify(code, sig, p.Lines(0))
			w := want[name]
			if cause != w.cause || !strings.Contains(detail, w.detail) || suspect != w.suspect {
				t.Errorf("%s, suspect %v, %q; want %s, suspect %v, %q", cause, suspect, detail, w.cause, w.suspect, w.detail)
			}
			if strings.Contains(detail, "5KQwr") {
				t.Error("a private key in the detail")
			}
		})
	}
}

func TestExitCausesWithoutLines(t *testing.T) {
	for _, c := range []struct {
		code    int
		sig     syscall.Signal
		cause   Cause
		suspect bool
	}{
		{-1, syscall.SIGTERM, CauseTerminated, false}, {-1, syscall.SIGPIPE, CauseSIGPIPE, false}, {-1, syscall.SIGBUS, CauseSIGBUS, true},
		{-1, syscall.SIGABRT, CauseSignal, true}, {2, 0, CauseUnknown, false}, {254, 0, CauseConfig, false}, {77, 0, CauseUnknown, false},
	} {
		if cause, _, suspect := classify(c.code, c.sig, nil); cause != c.cause || suspect != c.suspect {
			t.Errorf("code %d signal %d: %s, suspect %v", c.code, c.sig, cause, suspect)
		}
	}
}

func TestBudget(t *testing.T) {
	b := Budget{Exits: 4, Window: time.Minute, Min: time.Second, Max: 3 * time.Second}.withDefaults()
	t0 := time.Unix(1000, 0)
	var exits []time.Time
	for i, want := range []time.Duration{time.Second, 2 * time.Second, 3 * time.Second} {
		var pause time.Duration
		var ok bool
		if exits, pause, ok = b.next(exits, t0.Add(time.Duration(i)*time.Second)); !ok || pause != want {
			t.Fatalf("exit %d: pause %s, %v; want %s", i, pause, ok, want)
		}
	}
	if _, _, ok := b.next(exits, t0.Add(30*time.Second)); ok {
		t.Error("the fourth exit within a minute must end it")
	}
	if kept, pause, ok := b.next(exits, t0.Add(2*time.Minute)); !ok || pause != time.Second || len(kept) != 1 {
		t.Error("old exits must not count")
	}
}

// TestDirtyIsCodeAndMessage and nothing less: an auto-restore rests on it.
func TestDirtyIsCodeAndMessage(t *testing.T) {
	const message = "error 2026-11-21T00:39:41.525 nodeos    main.cpp:222                  main                 ] database dirty flag set (likely due to unclean shutdown): replay required"
	for _, c := range []struct {
		code  int
		sig   syscall.Signal
		line  string
		dirty bool
	}{
		{2, 0, message, true}, {2, 0, "Database dirty flag set", true}, {2, 0, "something else", false}, {2, 0, "", false},
		{254, 0, message, false}, {0, 0, message, false}, {1, 0, message, false}, {-1, syscall.SIGKILL, message, false}, {-1, syscall.SIGSEGV, message, false},
	} {
		e := Exit{Code: c.code, Signal: c.sig}
		e.Cause, _, e.Suspect = classify(c.code, c.sig, []string{"nodeos started", c.line})
		if e.Dirty() != c.dirty {
			t.Errorf("%+v: %+v", c, e)
		}
	}
	if (Exit{Cause: CauseInUse, Code: 2}).Dirty() {
		t.Error("somebody else's live state is not dirty")
	}
}
