package node

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"roundtable/logkey"
	"roundtable/pulse"
)

const (
	readBuffer  = 64 << 10               // what is read from nodeos at once
	lineKept    = 16 << 10               // of a line, the rest is counted and thrown away
	ringKept    = 2 << 10                // of a line in the ring
	recordKept  = 32 << 10               // of a multi-line message
	recordQueue = 512                    // lines waiting for slog
	sideQueue   = 128                    // lines of all sidecars waiting for it: their flood does not push nodeos' own out
	joinFor     = 200 * time.Millisecond // a message waits so long for more lines, and then for the next pulse
	joinPulse   = 500 * time.Millisecond
)

// PipelineConfig configures a Pipeline.
type PipelineConfig struct {
	Log     *slog.Logger // where the messages go; nil = nowhere
	Lines   int          // how many last lines are kept; 0 = 200
	OnEvent func(Event)  // called from the reading goroutine; must not block, or nodeos stops (FACT 12)
	Sidecar *slog.Logger // where the lines of sidecars go, each with its part; nil = Log
}

// Pipeline takes in everything nodeos prints. It always reads on: whatever stands behind it may be slow, and then lines
// are dropped there and counted, because a nodeos whose stderr is not read stops producing while get_info goes on
// answering (FACT 12). Methods may be called from any goroutine.
type Pipeline struct {
	cfg   PipelineConfig
	queue chan record
	side  chan sideLine
	done  chan struct{}

	mu     sync.Mutex // ring and closed
	ring   []string
	next   uint64 // lines ever put into the ring
	closed bool

	dropped, unknown, truncated, events atomic.Uint64
	lines                               [len(logLevels)]atomic.Uint64 // by level

	activity atomic.Int64  // unix nanoseconds of the last line
	httpUps  atomic.Uint64 // EventHTTPUp so far, for the supervisor
}

// LogStats counts what went through a Pipeline since its creation.
type LogStats struct {
	Lines     uint64 // taken in
	ByLevel   map[string]uint64
	Dropped   uint64 // not handed to slog since it was too slow
	Unknown   uint64 // in no known format, nor a continuation of one
	Truncated uint64 // longer than 16 KiB
	Events    uint64
}

// record is a masked line on its way to slog.
type record struct {
	stream string
	text   string
	line   LogLine
	parsed bool
}

// sideLine is a masked line of a sidecar.
type sideLine struct{ name, text string }

// NewPipeline starts a pipeline; Close ends it.
func NewPipeline(cfg PipelineConfig) *Pipeline {
	if cfg.Lines <= 0 {
		cfg.Lines = 200
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Sidecar == nil {
		cfg.Sidecar = cfg.Log
	}
	p := &Pipeline{cfg: cfg, queue: make(chan record, recordQueue), side: make(chan sideLine, sideQueue), done: make(chan struct{}), ring: make([]string, 0, cfg.Lines)}
	go p.write()
	return p
}

// Close flushes what is queued, at most for two seconds, and ends the pipeline. Lines that come later only reach the ring.
func (p *Pipeline) Close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.queue)
	}
	p.mu.Unlock()
	select {
	case <-p.done:
	case <-time.After(2 * time.Second):
	}
}

// Read takes lines from r until it ends, in the caller's goroutine. A line of any length needs no more memory than a
// short one. The error is nil at the end of r, also when r was closed meanwhile.
func (p *Pipeline) Read(stream string, r io.Reader) error {
	return readLines(r, lineKept, func(line []byte, cut bool) {
		if cut {
			p.truncated.Add(1)
		}
		p.Line(stream, line)
	})
}

// readLines gives every line of r to take, with its newline unless it was cut to limit bytes; take must not keep the bytes.
func readLines(r io.Reader, limit int, take func(line []byte, cut bool)) error {
	in := bufio.NewReaderSize(r, readBuffer)
	var kept []byte
	cut := false
	for {
		part, err := in.ReadSlice('\n')
		if room := limit - len(kept); len(part) > room+1 {
			kept, cut = append(kept, part[:room]...), true
		} else {
			kept = append(kept, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if len(kept) > 0 {
			take(kept, cut)
		}
		kept, cut = kept[:0], false
		if err != nil {
			if errors.Is(err, io.EOF) || isClosed(err) {
				return nil
			}
			return err
		}
	}
}

// Line takes one line, with or without its newline; the bytes are not kept. It never blocks but for OnEvent.
func (p *Pipeline) Line(stream string, b []byte) {
	b = bytes.TrimRight(b, "\r\n")
	if len(b) > lineKept {
		b = b[:lineKept]
	}
	text := Mask(string(b))
	p.activity.Store(time.Now().UnixNano())
	line, parsed := ParseLogLine(text)
	p.lines[levelIndex(line, parsed)].Add(1)
	if e, ok := p.event(line, parsed, text); ok {
		e.Stream = stream
		p.events.Add(1)
		if e.Kind == EventHTTPUp {
			p.httpUps.Add(1)
		}
		if p.cfg.OnEvent != nil {
			p.cfg.OnEvent(e)
		}
	}
	p.keep(record{stream: stream, text: text, line: line, parsed: parsed})
}

// SidecarLine takes one line of a sidecar; the bytes are not kept. It is no line of nodeos: it tells no event, whatever it says, and
// does not stand among the last lines, which explain an exit. It never blocks: a line for which there is no room is dropped.
func (p *Pipeline) SidecarLine(name string, b []byte) {
	text := Mask(string(bytes.TrimRight(b, "\r\n")))
	if text == "" {
		return
	}
	select {
	case p.side <- sideLine{name, text}:
	default:
		p.dropped.Add(1)
	}
}

func (p *Pipeline) event(line LogLine, parsed bool, text string) (Event, bool) {
	if parsed {
		return eventOf(line)
	}
	if text == "Database dirty flag set" {
		return Event{Kind: EventDirty, Level: slog.LevelError, Message: text}, true
	}
	return Event{}, false
}

func (p *Pipeline) keep(r record) {
	kept := r.text
	if len(kept) > ringKept {
		kept = strings.Clone(kept[:ringKept])
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ring) < cap(p.ring) {
		p.ring = append(p.ring, kept)
	} else {
		p.ring[p.next%uint64(cap(p.ring))] = kept
	}
	p.next++
	if p.closed {
		return
	}
	select {
	case p.queue <- r:
	default:
		p.dropped.Add(1)
	}
}

// Lines returns the last n lines, oldest first, masked and cut to 2 KiB each; all that are kept for n <= 0.
func (p *Pipeline) Lines(n int) []string {
	lines := p.since(0)
	if n > 0 && len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return lines
}

// mark names the present place in the stream of lines, and since returns the kept ones after such a place.
func (p *Pipeline) mark() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next
}

func (p *Pipeline) since(mark uint64) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if oldest := p.next - uint64(len(p.ring)); mark < oldest {
		mark = oldest
	}
	lines := make([]string, 0, p.next-mark)
	for ; mark < p.next; mark++ {
		lines = append(lines, p.ring[mark%uint64(cap(p.ring))])
	}
	return lines
}

// Stats returns the counters.
func (p *Pipeline) Stats() LogStats {
	s := LogStats{ByLevel: map[string]uint64{}, Dropped: p.dropped.Load(), Unknown: p.unknown.Load(), Truncated: p.truncated.Load(), Events: p.events.Load()}
	for i, level := range logLevels {
		n := p.lines[i].Load()
		s.ByLevel[level] = n
		s.Lines += n
	}
	return s
}

// logLevels are nodeos' own; a continuation, or what appbase prints itself, has none.
var logLevels = [...]string{"debug", "info", "warn", "error", "none"}

func levelIndex(l LogLine, parsed bool) int {
	if !parsed {
		return len(logLevels) - 1
	}
	return int(l.Level-slog.LevelDebug) / int(slog.LevelInfo-slog.LevelDebug)
}

// write joins lines to messages and hands them to slog; it may block there as long as it likes.
func (p *Pipeline) write() {
	defer close(p.done)
	open := map[string]*message{}
	timer := time.NewTimer(joinFor)
	timer.Stop()
	for {
		select {
		case r, ok := <-p.queue:
			if !ok {
				for stream := range open {
					p.emit(open, stream)
				}
				for len(p.side) > 0 {
					p.emitSide(<-p.side)
				}
				return
			}
			m := open[r.stream]
			if m != nil && !r.parsed && m.takes(r.text) {
				m.add(r.text)
				continue
			}
			p.emit(open, r.stream)
			m, known := newMessage(r)
			if !known {
				p.unknown.Add(1)
			}
			open[r.stream] = m
			timer.Reset(joinFor + pulse.Until(time.Now().Add(joinFor), joinPulse))
		case l := <-p.side:
			p.emitSide(l)
		case <-timer.C:
			for stream := range open {
				p.emit(open, stream)
			}
		}
	}
}

func (p *Pipeline) emitSide(l sideLine) { p.cfg.Sidecar.Info(l.text, logkey.Part, "sidecar "+l.name) }

func (p *Pipeline) emit(open map[string]*message, stream string) {
	m := open[stream]
	if m == nil {
		return
	}
	delete(open, stream)
	ctx := context.Background()
	if !p.cfg.Log.Enabled(ctx, m.level) {
		return
	}
	attrs := make([]slog.Attr, 0, 4)
	if m.line.File != "" {
		attrs = append(attrs, slog.String("thread", m.line.Thread), slog.String("file", m.line.File), slog.String("func", m.line.Func))
	}
	if stream != "stderr" {
		attrs = append(attrs, slog.String("stream", stream))
	}
	p.cfg.Log.LogAttrs(ctx, m.level, m.text.String(), attrs...)
}
