package node

import (
	"log/slog"
	"strings"
	"time"

	"roundtable/chain"
)

// EventKind names what a log line of nodeos tells.
type EventKind string

// The events, each with the fields it fills beside Kind, Time, Stream, Level and Message.
const (
	EventProduced         EventKind = "produced"          // Block (16-digit id), Producer, LIB, Transactions
	EventReceived         EventKind = "received"          // Block (16-digit id), Producer, LIB, Transactions, Latency; not every block is logged
	EventNotProducing     EventKind = "not_producing"     // Reason, Block.Slot: once per own slot (FACT 24)
	EventPaused           EventKind = "paused"            // `Producer paused.`
	EventResumed          EventKind = "resumed"           // `Producer resumed.`
	EventDoubleProduced   EventKind = "double_produced"   // Producer, Block.Num; seen on peers, not on the guilty node
	EventForkSwitch       EventKind = "fork_switch"       // Message
	EventStaleHead        EventKind = "stale_head"        // `producing, fork database head at:` = produces beside a better head
	EventProduceFailed    EventKind = "produce_failed"    // Reason: code and name of maybe_produce_block's exception
	EventDirty            EventKind = "dirty"             // the database dirty flag is set
	EventStarted          EventKind = "started"           // `nodeos started`
	EventChainStarted     EventKind = "chain_started"     // Block.Num = head after replay
	EventHTTPUp           EventKind = "http_up"           // Reason = address
	EventP2PUp            EventKind = "p2p_up"            // Reason = address
	EventPortInUse        EventKind = "port_in_use"       // Reason = address
	EventSpaceWarning     EventKind = "space_warning"     // Message
	EventSpaceShutdown    EventKind = "space_shutdown"    // nodeos stops itself, with exit code 0 (FACT 15)
	EventExiting          EventKind = "exiting"           // `nodeos successfully exiting`
	EventForked           EventKind = "forked"            // a peer says, or is told, that the chains have split (FACT 33)
	EventSafetyFileNew    EventKind = "safety_file_new"   // no finalizers/safety.dat: expected once in a key's life, unsafe later (FACT 38)
	EventReplayProgress   EventKind = "replay_progress"   // Message, "500 of 796"
	EventMalformedSigner  EventKind = "malformed_signer"  // a signature-provider was refused (masked)
	EventDuplicateProduce EventKind = "duplicate_produce" // another node produced the byte-identical block
)

// Event is one thing that happened, as nodeos' log told it. Log text is not authenticated: a p2p peer can put a forged
// line into stderr by a newline in its handshake (lease.md, S5). Nothing that protects the lease may rest on an Event;
// the gate reads its own stream.
type Event struct {
	Kind         EventKind
	Time         time.Time // nodeos' stamp, UTC; zero for lines without one
	Stream       string    // "stderr" or "stdout"
	Level        slog.Level
	Block        chain.Block
	Producer     string
	LIB          uint32
	Transactions int
	Latency      time.Duration
	Reason       string
	Message      string // masked; the first line of a multi-line message
}

// eventOf recognises the event a parsed line tells, if any.
func eventOf(l LogLine) (Event, bool) {
	e := Event{Time: l.Time, Level: l.Level, Message: l.Message}
	m := l.Message
	switch {
	case strings.HasPrefix(m, "Produced block "):
		e.Kind = EventProduced
		return e, blockLine(m[len("Produced block "):], &e)
	case strings.HasPrefix(m, "Received block "):
		e.Kind = EventReceived
		return e, blockLine(m[len("Received block "):], &e)
	case strings.HasPrefix(m, "Not producing block because "):
		e.Kind = EventNotProducing
		m = m[len("Not producing block because "):]
		i := strings.LastIndex(m, ", block ")
		if i < 0 {
			return e, false
		}
		t, ok := parseTime(strings.TrimSpace(m[i+len(", block "):]))
		e.Reason, e.Block.Slot = m[:i], chain.SlotAt(t.UnixMilli())
		return e, ok
	case strings.HasPrefix(m, "Producer paused"):
		e.Kind = EventPaused
	case strings.HasPrefix(m, "Producer resumed"):
		e.Kind = EventResumed
	case strings.Contains(m, " double produced block "):
		e.Kind = EventDoubleProduced
		who, num, _ := strings.Cut(m, " double produced block ")
		n, ok := digits(num)
		e.Producer, e.Block.Num = who, uint32(n)
		return e, ok && !strings.Contains(who, " ")
	case strings.HasPrefix(m, "switching forks from "):
		e.Kind = EventForkSwitch
	case strings.HasPrefix(m, "producing, fork database head at:"):
		e.Kind = EventStaleHead
	case l.Func == "maybe_produce_block":
		e.Kind = EventProduceFailed
		e.Reason, _, _ = strings.Cut(m, ":")
		if strings.Contains(m, "fork_database_exception") {
			e.Kind = EventDuplicateProduce
		}
	case strings.Contains(strings.ToLower(m), "database dirty flag set"):
		e.Kind = EventDirty
	case m == "nodeos started":
		e.Kind = EventStarted
	case strings.HasPrefix(m, "Blockchain started; head block is #"):
		e.Kind = EventChainStarted
		num, _, _ := strings.Cut(m[len("Blockchain started; head block is #"):], ",")
		n, ok := digits(num)
		e.Block.Num = uint32(n)
		return e, ok
	case strings.HasPrefix(m, "start listening on "):
		e.Reason, _ = word(m[len("start listening on "):])
		switch {
		case strings.Contains(m, "for API categories"):
			e.Kind = EventHTTPUp
		case strings.Contains(m, "max clients is"):
			e.Kind = EventP2PUp
		default:
			return e, false
		}
	case strings.HasPrefix(m, "unable to listen on ") && strings.Contains(m, "Address already in use"):
		e.Kind = EventPortInUse
		e.Reason, _ = word(m[len("unable to listen on "):])
	case strings.HasPrefix(m, "Space usage warning"):
		e.Kind = EventSpaceWarning
	case strings.HasPrefix(m, "Gracefully shutting down, exceeded file system"):
		e.Kind = EventSpaceShutdown
	case m == "nodeos successfully exiting":
		e.Kind = EventExiting
	case strings.Contains(m, "go_away_message, reason = chain is forked"), strings.Contains(m, "chain is forked, sending: forked go away"):
		e.Kind = EventForked
	case strings.HasPrefix(m, "finalizer safety persistence file") && strings.Contains(m, "does not exist"):
		e.Kind = EventSafetyFileNew
	case l.Func == "replay_block_log" && strings.Contains(m, " of "):
		e.Kind = EventReplayProgress
	case strings.HasPrefix(m, "Malformed signature provider"):
		e.Kind = EventMalformedSigner
	default:
		return Event{}, false
	}
	return e, true
}

// blockLine reads `<16 hex>... #<num> @ <time> signed by <producer> [trxs: n, lib: n, ... latency: n ms]`.
func blockLine(m string, e *Event) bool {
	id, m, ok := strings.Cut(m, "... #")
	if !ok || len(id) != 16 {
		return false
	}
	num, m, _ := strings.Cut(m, " @ ")
	n, ok := digits(num)
	if !ok {
		return false
	}
	stamp, m, _ := strings.Cut(m, " signed by ")
	t, ok := parseTime(stamp)
	if !ok {
		return false
	}
	producer, m, ok := strings.Cut(m, " [")
	if !ok {
		return false
	}
	e.Block = chain.Block{Slot: chain.SlotAt(t.UnixMilli()), Num: uint32(n), ID: id}
	e.Producer = producer
	for field := range strings.SplitSeq(strings.TrimSuffix(m, "]"), ", ") {
		key, value, _ := strings.Cut(field, ": ")
		switch key {
		case "trxs":
			e.Transactions, _ = digits(value)
		case "lib":
			n, _ := digits(value)
			e.LIB = uint32(n)
		case "latency":
			value, negative := strings.CutPrefix(strings.TrimSuffix(value, " ms"), "-")
			ms, _ := digits(value)
			if negative {
				ms = -ms
			}
			e.Latency = time.Duration(ms) * time.Millisecond
		}
	}
	return true
}
