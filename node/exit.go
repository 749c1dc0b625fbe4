package node

import (
	"fmt"
	"strings"
	"syscall"
	"time"
)

// Cause names why a nodeos ended.
type Cause string

// The causes, from the exit code or signal and, where one code means many things, from the last lines (table "Exit codes"
// of the recordings).
const (
	CauseClean          Cause = "clean"           // code 0
	CauseDiskFull       Cause = "disk_full"       // code 0 too: resource_monitor stopped it (FACT 15)
	CauseOutOfMemory    Cause = "out_of_memory"   // code 1: chain-state-db-size-mb is too small
	CauseDirty          Cause = "dirty"           // code 2 and its message: replay needed
	CauseInUse          Cause = "in_use"          // the same, but another process has the data open: nothing is wrong with it (FACT 11)
	CauseManagement     Cause = "management"      // code 5: --print-build-info and the like
	CauseConfig         Cause = "config_error"    // code 254, anything not named below
	CausePortInUse      Cause = "port_in_use"     // code 254
	CauseBadSigner      Cause = "bad_signer"      // code 254: a signature-provider does not parse or match
	CauseCorruptState   Cause = "corrupt_state"   // code 254: state/shared_memory.bin
	CauseCorruptBlocks  Cause = "corrupt_blocks"  // code 254: blocks.log or its index
	CauseReplayRequired Cause = "replay_required" // code 254: fork_db.dat or chain_head.dat is missing
	CauseReplayRefused  Cause = "replay_refused"  // code 254: no full blocks.log (FACT 19)
	CauseBadSnapshot    Cause = "bad_snapshot"    // code 254
	CauseGenesis        Cause = "genesis"         // code 254: missing or another chain's genesis
	CauseSafetyFile     Cause = "safety_file"     // code 254: finalizers/safety.dat is corrupt (FACT 38)
	CauseKilled         Cause = "killed"          // SIGKILL, by us or the kernel's OOM killer
	CauseTerminated     Cause = "terminated"      // SIGTERM before nodeos had handlers: harmless
	CauseSIGBUS         Cause = "sigbus"          // file system full under the mapped state
	CauseSIGSEGV        Cause = "sigsegv"         // corrupt state, or a bug
	CauseSIGPIPE        Cause = "sigpipe"         // stderr was closed; the state was written first
	CauseSignal         Cause = "signal"          // any other signal
	CauseStartTimeout   Cause = "start_timeout"   // it said nothing for too long before HTTP came up (FACT 21); killed
	CauseStopTimeout    Cause = "stop_timeout"    // SIGTERM had no effect in time; killed
	CauseCannotStart    Cause = "cannot_start"    // no process came to be
	CauseUnknown        Cause = "unknown"
)

// Exit is the end of one nodeos.
type Exit struct {
	Cause   Cause          `json:"cause"`
	Code    int            `json:"code"`   // exit code, -1 for a death by signal or no process at all
	Signal  syscall.Signal `json:"signal"` // 0 if it exited
	Detail  string         `json:"detail"` // the decisive line, masked; "" if none
	Lines   []string       `json:"lines"`  // the last lines of that run, masked
	At      time.Time      `json:"at"`
	Ran     time.Duration  `json:"ran"`
	Suspect bool           `json:"suspect"` // the state on disk is dirty or must be taken for it
	Asked   bool           `json:"asked"`   // by Stop, Restart or shutdown

	up bool // it was up before
}

// String is one line for an operator.
func (e Exit) String() string {
	s := fmt.Sprintf("%s (code %d)", e.Cause, e.Code)
	if e.Signal != 0 {
		s = fmt.Sprintf("%s (signal %d, %s)", e.Cause, int(e.Signal), e.Signal)
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// AtStart reports whether it ended for what it was started with, before it was up: no process came to be, or nodeos refused to start.
func (e Exit) AtStart() bool { return e.Cause == CauseCannotStart || e.Code == 254 }

// Dirty reports nodeos' own signs of a dirty database: exit code 2 and its message, while nobody else had the data open. A second
// nodeos on a live data directory ends in the same way, since the flag stands in the file as long as the first one runs; it is told
// apart by our lock on the directory, which no other manager has then, and by a look at who has the chain's files open or locked:
// that is CauseInUse. A configuration error is code 254 and never dirty.
func (e Exit) Dirty() bool { return e.Cause == CauseDirty && e.Code == 2 }

// Hint is what an operator can do, "" if nothing is known.
func (e Exit) Hint() string { return hints[e.Cause] }

var hints = map[Cause]string{
	CauseDiskFull:       "free space on the data file system, or raise resource-monitor-space-threshold",
	CauseOutOfMemory:    "raise chain-state-db-size-mb in the config template",
	CauseDirty:          "the state needs --replay-blockchain or a chain snapshot",
	CauseInUse:          "another nodeos runs on this data: find it and stop it first; never replay beside it",
	CauseConfig:         "see the last lines; the config template or node.args is wrong",
	CausePortInUse:      "another process listens there: stop it or change node.http / node.p2p",
	CauseBadSigner:      "a signature-provider line of the config template is malformed",
	CauseCorruptState:   "the state is damaged: start with --replay-blockchain, or restore a chain snapshot",
	CauseCorruptBlocks:  "blocks.log or blocks.index is damaged: use spring-util block-log, or restore a backup",
	CauseReplayRequired: "start with --replay-blockchain, or restore a chain snapshot",
	CauseReplayRefused:  "blocks.log does not begin at block 1: restore a chain snapshot",
	CauseBadSnapshot:    "the snapshot is missing, damaged, or the state is not empty",
	CauseGenesis:        "remove --genesis-json, or give this chain's genesis file",
	CauseSafetyFile:     "finalizers/safety.dat is damaged; never copy one from another machine, ask before removing it",
	CauseKilled:         "if nobody sent SIGKILL, look for the kernel's OOM killer in dmesg",
	CauseSIGBUS:         "most likely the file system of the state is full",
	CauseSIGSEGV:        "the state may be damaged: start with --replay-blockchain, or restore a chain snapshot",
	CauseStartTimeout:   "shared_memory.bin may be truncated: start with --replay-blockchain, or raise the start timeout",
	CauseStopTimeout:    "it had to be killed, so the next start replays; raise node.stop_timeout",
	CauseCannotStart:    "check the program's path, permissions and arguments: node.path and node.args, or run.toml of the version",
}

// marks lists what in the last lines decides among the causes of one exit code; the first match wins.
var marks = []struct {
	code  int
	text  string
	cause Cause
}{
	{0, "Gracefully shutting down, exceeded file system configured threshold", CauseDiskFull},
	{1, "bad alloc", CauseOutOfMemory},
	{2, "database dirty flag set", CauseDirty},
	{2, "Database dirty flag set", CauseDirty}, // what appbase prints of it, and older versions log
	{254, "Address already in use", CausePortInUse},
	{254, "Malformed signature provider", CauseBadSigner},
	{254, "without a full block log", CauseReplayRefused},
	{254, "corrupted finalizer safety persistence file", CauseSafetyFile},
	{254, "Replay required.", CauseReplayRequired},
	{254, "No existing chain_head.dat file", CauseReplayRequired},
	{254, "format not compatible with this version of chainbase", CauseCorruptState},
	{254, "Failed to read DB header", CauseCorruptState},
	{254, "Cannot load snapshot", CauseBadSnapshot},
	{254, "snapshot_exception", CauseBadSnapshot},
	{254, "Snapshot can only be used to initialize an empty database", CauseBadSnapshot},
	{254, "block_log_", CauseCorruptBlocks},
	{254, "unlinkable_block_exception", CauseCorruptBlocks},
	{254, "Genesis state, provided via command line arguments, does not match", CauseGenesis},
	{254, "Specified genesis file", CauseGenesis},
}

// classify names the cause of an exit from its code or signal and the lines of that run.
func classify(code int, sig syscall.Signal, lines []string) (cause Cause, detail string, suspect bool) {
	switch sig {
	case 0:
	case syscall.SIGKILL:
		return CauseKilled, "", true
	case syscall.SIGTERM, syscall.SIGINT:
		return CauseTerminated, "", false
	case syscall.SIGBUS:
		return CauseSIGBUS, "", true
	case syscall.SIGSEGV:
		return CauseSIGSEGV, "", true
	case syscall.SIGPIPE:
		return CauseSIGPIPE, "", false
	default:
		return CauseSignal, "", true
	}
	cause = CauseUnknown
	switch code {
	case 0:
		cause = CauseClean
	case 5:
		cause = CauseManagement
	case 254:
		cause, detail = CauseConfig, lastError(lines)
	}
	for _, m := range marks {
		if m.code != code {
			continue
		}
		for i := len(lines) - 1; i >= 0; i-- {
			if strings.Contains(lines[i], m.text) {
				return m.cause, tidy(lines[i]), m.cause == CauseDirty
			}
		}
	}
	return cause, detail, false
}

// lastError is the line that tells most about a failed start: what the exception says, else the last error line.
func lastError(lines []string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		if what, ok := strings.CutPrefix(lines[i], "std::exception::what: "); ok {
			return what
		}
		l, ok := ParseLogLine(lines[i])
		if !ok || l.Level < 8 {
			continue
		}
		// "3110006 plugin_config_exception: Incorrect plugin configuration" says less than the line after it.
		if i+1 < len(lines) && !strings.HasPrefix(lines[i+1], " ") && lines[i+1] != "" && !strings.HasPrefix(lines[i+1], "Dynamic exception type") {
			return lines[i+1]
		}
		if !strings.HasPrefix(lines[min(i+1, len(lines)-1)], "Dynamic exception type") {
			return l.Message
		}
	}
	return ""
}

// tidy leaves only the message of a log line.
func tidy(line string) string {
	if l, ok := ParseLogLine(line); ok {
		return l.Message
	}
	return line
}
