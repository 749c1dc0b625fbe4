package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"roundtable/fsm"
)

// Bounds of event streams.
const (
	maxStreams     = 64 // open at once, and of one client:
	maxStreamsEach = 16
	streamTime     = 5 * time.Second        // for a client to take what was written
	streamBeat     = 15 * time.Second       // a line at least so often, so that both ends see when the other is gone
	progressBeat   = 250 * time.Millisecond // between two events of one operation that is at the same step
	historyLines   = 512                    // what the state keeps (fsm): a full history may have forgotten something
)

// cursor is a place in the history: the n-th line (from 1 on) that the entry of that index made. It is the id of an event.
type cursor struct {
	index uint64
	line  int
}

func (c cursor) String() string { return fmt.Sprintf("%d.%d", c.index, c.line) }

func (c cursor) before(o cursor) bool {
	return cmp.Or(cmp.Compare(c.index, o.index), cmp.Compare(c.line, o.line)) < 0
}

// parseCursor reads the id of an event. An index alone is the place after all its lines.
func parseCursor(text string) (cursor, error) {
	index, line, two := strings.Cut(text, ".")
	if !two {
		line = strconv.Itoa(math.MaxInt32)
	}
	i, err := strconv.ParseUint(index, 10, 64)
	n, err2 := strconv.ParseInt(line, 10, 32)
	if err != nil || err2 != nil || n < 1 {
		return cursor{}, badInput("the id of an event, such as 120.1, or 0 for all that is left of the history", "%.32q is not a place in the history", text)
	}
	return cursor{i, int(n)}, nil
}

// line is a line of the history in its place.
type line struct {
	at    cursor
	event fsm.Event
}

// follow lists what stands in the history after c. gap says that older lines than those are forgotten, perhaps some after c.
func follow(history []fsm.Event, c cursor) (lines []line, gap bool) {
	n := 0
	for i, e := range history {
		if i == 0 || history[i-1].Index != e.Index {
			n = 0
		}
		n++
		if at := (cursor{e.Index, n}); c.before(at) {
			lines = append(lines, line{at, e})
		}
	}
	return lines, len(history) >= historyLines && c.index <= history[0].Index
}

// streams bounds how many there are.
type streams struct {
	mu    sync.Mutex
	total int
	each  map[string]int
}

// open takes a place for a client; close gives it back.
func (s *streams) open(client string) (end func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	refusal := &Error{Status: http.StatusServiceUnavailable, Code: "too_many_streams", Message: fmt.Sprintf("there are %d event streams, the most there may be", maxStreams), Hint: "end one, or ask another member", refused: reasonStreams}
	switch {
	case s.each[client] >= maxStreamsEach:
		refusal.Status, refusal.Message = http.StatusTooManyRequests, fmt.Sprintf("there are %d event streams to your address, the most there may be", maxStreamsEach)
		return nil, refusal
	case s.total >= maxStreams:
		return nil, refusal
	}
	if s.each == nil {
		s.each = map[string]int{}
	}
	s.total++
	s.each[client]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.total--
		if s.each[client]--; s.each[client] == 0 {
			delete(s.each, client)
		}
	}, nil
}

// getEvents streams what changes, as server-sent events. It is level-triggered like the controllers: what is sent is what
// the newest state has beyond what was sent before, so nothing is queued for a slow client and nothing waits for it.
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) error {
	state, _ := s.cfg.Cluster.View()
	e := &eventStream{w: w, server: s, at: cursor{state.Index, math.MaxInt32}, operations: map[uint64]told{}, backups: state.Backups, plans: state.Plans}
	if from := cmp.Or(r.Header.Get("Last-Event-ID"), r.URL.Query().Get("since")); from != "" {
		var err error
		if e.at, err = parseCursor(from); err != nil {
			return err
		}
	}
	end, err := s.streams.open(clientOf(r.RemoteAddr))
	if err != nil {
		return err
	}
	defer end()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy must pass each event on at once
	shown(w, streamTime)
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	for _, o := range state.Operations { // those that ended before are told by the history
		if o.Outcome != fsm.Running {
			e.operations[o.ID] = told{progress: progressOf(state, o)}
		}
	}
	e.text.WriteString("retry: 1000\n\n")
	beat := time.NewTimer(streamBeat)
	defer beat.Stop()
	for {
		state, changed := s.cfg.Cluster.View()
		var due <-chan time.Time // for what was held back
		if wait := e.add(state); wait > 0 {
			due = time.After(wait)
		}
		if err := e.flush(); err != nil {
			return nil // the client is gone, or too slow: it resumes where it was
		}
		beat.Reset(streamBeat)
		select {
		case <-r.Context().Done():
			return nil
		case <-changed:
		case <-due:
		case <-beat.C:
			e.text.WriteString(": still here\n\n")
		}
		if who, err := s.identify(r); err != nil || who != callOf(r).who {
			return nil // the token was removed or ended meanwhile: so does the stream
		}
	}
}

// eventStream is one client's stream.
type eventStream struct {
	w      http.ResponseWriter
	server *Server
	text   strings.Builder // not sent yet

	at         cursor                // of the last line of the history that was sent
	lease      leaseKey              // as sent
	told       bool                  // that there is a lease was told
	operations map[uint64]told       // as sent
	backups    map[string]fsm.Backup // as sent, or as it was when the stream began
	plans      map[string]fsm.Plan   // the same
}

// leaseKey is what makes a lease another one for those who follow; an extension does not.
type leaseKey struct {
	epoch    uint64
	holder   string
	released bool
}

// progress is what makes an operation's state another one.
type progress struct {
	outcome fsm.Outcome
	steps   int
	percent int
	message string
}

func progressOf(s *fsm.State, o fsm.Operation) progress {
	return progress{o.Outcome, len(o.Steps), percentOf(o), messageOf(s, o)}
}

// told is the state of an operation that a client knows, and since when.
type told struct {
	progress
	at time.Time
}

// add writes what the state has beyond what was sent. The first time that is also the lease and the operations under way as
// they are, so that a client that was away knows where things stand. It returns when to come again for an operation's progress
// that is held back, since the client has just heard of it; 0 for nothing.
func (e *eventStream) add(state *fsm.State) (again time.Duration) {
	lines, gap := follow(state.History, e.at)
	if gap {
		e.event("gap", "", Gap{After: e.at.String(), Oldest: state.History[0].Index})
	}
	for _, l := range lines {
		e.event("history", l.at.String(), viewEvent(l.event))
		e.at = l.at
	}
	if gap && len(lines) == 0 {
		e.at = cursor{state.Index, math.MaxInt32}
	}
	if l := (leaseKey{state.Lease.Epoch, state.Lease.Holder, state.Lease.Released}); !e.told || l != e.lease {
		e.lease, e.told = l, true
		e.event("lease", "", e.server.glance().lease())
	}
	now := e.server.cfg.Now().UnixMilli()
	for _, o := range state.Operations {
		last := e.operations[o.ID]
		if o.Outcome != fsm.Running && o.Outcome == last.outcome { // nothing changes any more
			continue
		}
		p := progressOf(state, o)
		if p == last.progress {
			continue
		}
		if held := progressBeat - time.Since(last.at); held > 0 && p.outcome == last.outcome && p.steps == last.steps {
			if again == 0 || held < again {
				again = held
			}
			continue
		}
		e.operations[o.ID] = told{p, time.Now()}
		e.event("operation", "", e.server.operation(state, o, now))
	}
	e.addBackups(state, now)
	if len(e.operations) > 2*len(state.Operations)+1 { // the state forgot them
		for id := range e.operations {
			if _, ok := state.Operation(id); !ok {
				delete(e.operations, id)
			}
		}
	}
	return again
}

// addBackups writes what has changed of the catalogue and of the plans, one event for each backup and plan. What is gone is told by the
// history. The state makes a new map for each change.
func (e *eventStream) addBackups(state *fsm.State, now int64) {
	if !sameMap(e.backups, state.Backups) {
		for _, b := range slices.Backward(newestFirst(state)) {
			if b != e.backups[b.ID] {
				e.event("backup", "", viewBackup(b, now))
			}
		}
		e.backups = state.Backups
	}
	if !sameMap(e.plans, state.Plans) {
		for _, id := range planIDs(state) {
			if p := state.Plans[id]; !reflect.DeepEqual(p, e.plans[id]) {
				e.event("plan", "", viewPlan(state, p))
			}
		}
		e.plans = state.Plans
	}
}

// event writes one event. Only lines of the history have an id: they are what can be resumed.
func (e *eventStream) event(kind, id string, data any) {
	b, err := json.Marshal(data)
	if err != nil {
		panic(err) // cannot happen: the views are plain structs
	}
	if id != "" {
		fmt.Fprintf(&e.text, "id: %s\n", id)
	}
	fmt.Fprintf(&e.text, "event: %s\ndata: %s\n\n", kind, b)
}

// flush sends what was written. A client that does not take it in time is cut off.
func (e *eventStream) flush() error {
	if e.text.Len() == 0 {
		return nil
	}
	shown(e.w, streamTime)
	_, err := e.w.Write([]byte(e.text.String()))
	e.text.Reset()
	if err != nil {
		return err
	}
	return http.NewResponseController(e.w).Flush()
}
