package gate

import (
	"strconv"
	"strings"
	"time"

	"roundtable/chain"
)

// A log line of nodeos has a head of fixed width (console_appender.cpp; fact 2), each part cut or padded:
//
//	debug 2026-11-21T00:33:02.275 nodeos    producer_plugin.cpp:2086      start_block          ] Starting block ...
//	0     6                       30        40                            70                  91
const (
	headTime   = 6
	headThread = 30
	headFile   = 40
	headMethod = 70
	headEnd    = 91
	headLen    = headEnd + len("] ")

	mainThread   = "nodeos   "
	producerFile = "producer_plugin.cpp:"

	timeLayout = "2006-01-02T15:04:05.000"
)

type lineKind int

const (
	lineOther    lineKind = iota
	lineStart             // Starting block #N <slot time> producer P[, deadline T]
	lineTimer             // Produce block timer for N running at T
	lineReturned          // Producing Block #N returned
	lineVoid              // Aborting block..., or a line of the above that cannot be understood
)

// logLine is what the gate understands of one trusted line.
type logLine struct {
	kind     lineKind
	num      uint32
	slot     chain.Slot
	producer string
}

// parseLine reads one line of nodeos' producer_plugin logger. It is strict about what could permit a signature (main
// thread, level, file, function, and the whole message) and lenient about what takes one away.
func parseLine(s string) logLine {
	if len(s) > 3 && s[0] == '<' && s[2] == '>' { // JOURNAL_STREAM prefix (fact 4)
		s = s[3:]
	}
	if len(s) < headLen || s[headEnd:headLen] != "] " {
		return logLine{}
	}
	message := s[headLen:]
	switch {
	case strings.HasPrefix(message, "Starting block "):
		if l, ok := parseStart(message); ok && trustedHead(s) && strings.TrimRight(s[headMethod:headEnd], " ") == "start_block" {
			return l
		}
		return logLine{kind: lineVoid}
	case strings.HasPrefix(message, "Produce block timer for "):
		if num, ok := parseTimer(message); ok && trustedHead(s) {
			return logLine{kind: lineTimer, num: num}
		}
		return logLine{kind: lineVoid}
	case strings.HasPrefix(message, "Producing Block #"):
		num, _, _ := strings.Cut(strings.TrimPrefix(message, "Producing Block #"), " returned: ")
		if n, ok := parseNum(num); ok {
			return logLine{kind: lineReturned, num: n}
		}
		return logLine{kind: lineVoid}
	case strings.HasPrefix(message, "Aborting block"):
		return logLine{kind: lineVoid}
	}
	return logLine{}
}

func trustedHead(s string) bool {
	if s[:headTime] != "debug " || s[headThread-1] != ' ' || s[headThread:headFile-1] != mainThread || s[headFile-1] != ' ' || s[headMethod-1] != ' ' {
		return false
	}
	if _, err := time.Parse(timeLayout, s[headTime:headThread-1]); err != nil {
		return false
	}
	number, ok := strings.CutPrefix(s[headFile:headMethod-1], producerFile)
	if !ok {
		return false
	}
	_, ok = parseNum(strings.TrimRight(number, " "))
	return ok
}

// parseStart reads `Starting block #N <time> producer P[, deadline <time>]`, the whole of it.
func parseStart(m string) (logLine, bool) {
	m = strings.TrimPrefix(m, "Starting block #")
	num, m, ok := strings.Cut(m, " ")
	if !ok {
		return logLine{}, false
	}
	at, m, ok := strings.Cut(m, " producer ")
	if !ok {
		return logLine{}, false
	}
	producer, deadline, has := strings.Cut(m, ", deadline ")
	if has {
		if _, err := time.Parse(timeLayout, deadline); err != nil {
			return logLine{}, false
		}
	}
	n, ok := parseNum(num)
	t, err := time.Parse(timeLayout, at)
	if !ok || err != nil || len(at) != len(timeLayout) || t.UnixMilli() < chain.EpochMillis || t.UnixMilli()%chain.SlotMillis != 0 || !isName(producer) {
		return logLine{}, false
	}
	return logLine{kind: lineStart, num: n, slot: chain.SlotAt(t.UnixMilli()), producer: producer}, true
}

// parseTimer reads `Produce block timer for N running at <time>`; N is 0 when nodeos was not building a block.
func parseTimer(m string) (uint32, bool) {
	num, at, ok := strings.Cut(strings.TrimPrefix(m, "Produce block timer for "), " running at ")
	if !ok {
		return 0, false
	}
	if _, err := time.Parse(timeLayout, at); err != nil {
		return 0, false
	}
	return parseNum(num)
}

// parseNum reads a plain decimal number as nodeos prints it: no sign, no leading zero.
func parseNum(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && (s == "0" || s[0] >= '1' && s[0] <= '9')
}

// isName reports whether s can be an account name of the chain.
func isName(s string) bool {
	if s == "" || len(s) > 13 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '1' || c > '5') && c != '.' {
			return false
		}
	}
	return true
}

type blockPhase int

const (
	phaseNone    blockPhase = iota // nothing announced in this run
	phaseStarted                   // announced; the timer has not fired: no request can be for it yet
	phaseArmed                     // announced and timed: a request is for this block
	phaseVoid                      // aborted, finished or in doubt
)

func (p blockPhase) String() string {
	return [...]string{"none", "started", "armed", "void"}[p]
}

// announced is the block that nodeos last said it is building, and what was signed for it. One announcement permits one
// digest, for any number of our keys [L8].
type announced struct {
	phase    blockPhase
	num      uint32
	slot     chain.Slot
	producer string

	recorded bool
	digest   [32]byte
	sigs     map[string]string // key -> signature given for digest
}

// next is the announcement after one trusted line; the same pointer if the line changes nothing.
func (a *announced) next(l logLine) *announced {
	switch l.kind {
	case lineStart:
		return &announced{phase: phaseStarted, num: l.num, slot: l.slot, producer: l.producer}
	case lineTimer:
		if a.phase == phaseStarted && a.num == l.num {
			a.phase = phaseArmed
		} else {
			a.void()
		}
	case lineReturned:
		// nodeos starts the next block before it says that this one returned (maybe_produce_block's scoped exit reschedules).
		if a.num == l.num {
			a.void()
		}
	case lineVoid:
		a.void()
	}
	return a
}

func (a *announced) void() {
	if a.phase != phaseNone {
		a.phase = phaseVoid
	}
}
