package observe

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"roundtable/drill"
	"roundtable/logkey"
)

// logged is one line of a manager's log.
type logged struct {
	level, msg, part string
	keys             []string
	attrs            map[string]any
	text             string
	bad              error
}

func (l logged) has(key string, value any) bool { return l.attrs[key] == value }

// parseJSON takes a line apart, and wants each key once: a second one of the same name hides the first.
func parseJSON(line []byte) (logged, error) {
	l := logged{text: string(line)}
	d := json.NewDecoder(bytes.NewReader(line))
	if _, err := d.Token(); err != nil {
		return l, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return l, err
		}
		if slices.Contains(l.keys, key.(string)) {
			return l, fmt.Errorf("the key %q is there twice", key)
		}
		l.keys = append(l.keys, key.(string))
		var skip json.RawMessage
		if err := d.Decode(&skip); err != nil {
			return l, err
		}
	}
	if err := json.Unmarshal(line, &l.attrs); err != nil {
		return l, err
	}
	l.level, _ = l.attrs["level"].(string)
	l.msg, _ = l.attrs["msg"].(string)
	l.part, _ = l.attrs[logkey.Part].(string)
	return l, nil
}

// logs reads every member's log, from a line on that an earlier call counted.
func (b *box) logs(from map[string]int) map[string][]logged {
	b.t.Helper()
	all := map[string][]logged{}
	for _, m := range b.Members {
		text, err := os.ReadFile(filepath.Join(m.Home, "manager.log"))
		if err != nil {
			b.t.Fatal(err)
		}
		n := 0
		for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); n++ {
			if n < from[m.ID] {
				continue
			}
			l, err := parseJSON(s.Bytes())
			l.bad = err
			all[m.ID] = append(all[m.ID], l)
		}
	}
	return all
}

// mark is where the logs end now.
func (b *box) mark() map[string]int {
	lines := map[string]int{}
	for id, list := range b.logs(nil) {
		lines[id] = len(list)
	}
	return lines
}

// want is how often a line must stand in a member's log since a mark.
type want struct {
	member string
	level  string
	msg    string
	key    string // which must have the value; "": none
	value  any
	times  int // or some
}

// some is one or more: under load a change may come by itself once more. wellFormed wants one line for each all the same.
const some = -1

// said waits until each of these lines is there, and wants none of them more often. What happens to a cluster is known to all
// members a moment later.
func (b *box) said(t *testing.T, since map[string]int, wants ...want) {
	t.Helper()
	count := func(w want) (n int, lines string) {
		for _, l := range b.logs(since)[w.member] {
			if l.msg == w.msg {
				lines += "\n" + l.text
			}
			if l.msg == w.msg && l.level == w.level && (w.key == "" || l.has(w.key, w.value)) {
				n++
			}
		}
		return n, lines
	}
	// Gossip suspects a silent manager for 8 s (four probes) before it calls it dead, and starts with a probe or two.
	until(t, 30*time.Second, "the lines of the log", func(context.Context) error {
		for _, w := range wants {
			if n, lines := count(w); n < w.times || w.times == some && n == 0 {
				return fmt.Errorf("%s: %d of %d lines %s %q (%s=%v), but%s", w.member, n, w.times, w.level, w.msg, w.key, w.value, lines)
			}
		}
		return nil
	})
	for _, w := range wants {
		if !bytes.Contains(logReference(t), []byte("`"+w.msg+"`")) {
			t.Errorf("docs/reference/log.md does not tell of %q", w.msg)
		}
		if n, lines := count(w); n != w.times && w.times != some {
			t.Errorf("%s: %d lines %s %q (%s=%v), not %d:%s", w.member, n, w.level, w.msg, w.key, w.value, w.times, lines)
		}
	}
}

func logReference(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("../../docs/reference/log.md")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestKeysAreTold wants every key that is a contract in the reference.
func TestKeysAreTold(t *testing.T) {
	code, err := os.ReadFile("../../logkey/logkey.go")
	if err != nil {
		t.Fatal(err)
	}
	keys := regexp.MustCompile(`= "([a-z_]+)"`).FindAllSubmatch(code, -1)
	if len(keys) < 10 {
		t.Fatalf("only %d keys", len(keys))
	}
	for _, key := range keys {
		if !bytes.Contains(logReference(t), append(append([]byte("`"), key[1]...), '`')) {
			t.Errorf("docs/reference/log.md does not tell of the key %s", key[1])
		}
	}
}

const (
	info = "INFO"
	warn = "WARN"
	fail = "ERROR"
)

// TestLog makes every kind of change happen, and wants one line for each in the log of whom it concerns.
func TestLog(t *testing.T) {
	short(t)
	t.Parallel()
	b := start(t, drill.Options{Env: []string{"ROUNDTABLE_MANAGER_LOG_FORMAT=json"}})
	for _, m := range b.Members {
		b.said(t, nil, want{m.ID, info, "node started, paused", "", nil, 1}, want{m.ID, info, "member joined", logkey.Subject, m.ID, 1})
	}
	b.quiet(t, 30)

	o := b.overview()
	from, to := o.Holder(), b.bystander()
	third := b.Members[slices.IndexFunc(b.Members, func(m *drill.Member) bool { return m.ID != from && m != to })]
	at := b.mark()
	b.change(third, http.MethodPost, "/cluster/handoff?wait=20s", `{"to":"`+to.ID+`","when":"now"}`)
	b.said(t, at,
		want{from, info, "lease transferred", logkey.Subject, to.ID, 1}, want{to.ID, info, "lease transferred", logkey.Subject, to.ID, 1},
		want{third.ID, info, "lease transferred", "", nil, 0},
		want{third.ID, info, "operation started", logkey.By, third.ID, 1}, want{to.ID, info, "operation started", logkey.By, third.ID, 1},
		want{to.ID, info, "operation done", "", nil, 1},
		want{from, info, "node paused", "", nil, 1}, want{to.ID, info, "node resumed", "", nil, 1})

	at = b.mark()
	b.change(third, http.MethodPost, "/cluster/leader/transfer", `{"to":"`+to.ID+`"}`)
	for _, m := range b.Members {
		b.said(t, at, want{m.ID, info, "new leader", logkey.Leader, to.ID, some})
	}

	at = b.mark()
	b.change(to, http.MethodPost, "/cluster/maintenance", `{"on":true}`)
	b.change(to, http.MethodPost, "/cluster/maintenance", `{"on":false}`)
	b.change(to, http.MethodPost, "/cluster/maintenance", `{"on":true,"member":"`+third.ID+`"}`)
	b.change(to, http.MethodPost, "/cluster/maintenance", `{"on":false,"member":"`+third.ID+`"}`)
	for _, m := range b.Members {
		own := 2
		if m.ID == from {
			own = 0
		}
		b.said(t, at, want{m.ID, info, "cluster set", "", nil, 2}, want{m.ID, info, "member set", logkey.Subject, third.ID, own})
	}

	at = b.mark()
	if err := b.NodeExit(t.Context(), third); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.said(t, at, // it left a dirty database: so it is started twice
		want{third.ID, warn, "node ended", "cause", "killed", 1}, want{third.ID, warn, "node ended", "cause", "dirty", 1}, want{third.ID, warn, "node ended", "", nil, 2},
		want{third.ID, info, "node started, paused", "", nil, 2}, want{third.ID, info, "node is up", "", nil, 1},
		want{from, warn, "node ended", "", nil, 0}, want{to.ID, warn, "node ended", "", nil, 0})

	o = b.overview()
	holder := b.holder() // it leads as well, unless load has moved that
	at = b.mark()
	if err := b.KillMember(t.Context(), holder); err != nil {
		t.Fatal(err)
	}
	until(t, 20*time.Second, "somebody took over", func(ctx context.Context) error {
		o, err := b.Overview(ctx)
		if err == nil && (o.Holder() == "" || o.Holder() == holder.ID) {
			err = errors.New("nobody did")
		}
		return err
	})
	after := b.overview()
	for _, m := range b.Members {
		if m == holder {
			continue
		}
		wants := []want{{m.ID, info, "gossip: manager", logkey.Peer, holder.ID, some}}
		if o.Leader == holder.ID {
			wants = append(wants, want{m.ID, info, "new leader", "", nil, some})
		}
		if m.ID == after.Holder() {
			wants = append(wants, want{m.ID, info, "lease granted", logkey.Subject, m.ID, some})
		} else if m.ID != after.Leader && after.Lease.Epoch == o.Lease.Epoch+1 {
			wants = append(wants, want{m.ID, info, "lease granted", "", nil, 0})
		}
		b.said(t, at, wants...)
	}
	at = b.mark()
	if err := b.StartMember(holder); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.said(t, at, want{holder.ID, info, "member started", logkey.Subject, holder.ID, 1}, want{holder.ID, info, "lease granted", "", nil, 0}) // of its former life

	b.wellFormed(t)
	at = b.mark()
	m := b.bystander()
	if err := b.StepClock(m, 2*time.Second); err != nil { // which also ends the process, with a plain word on stderr
		t.Fatal(err)
	}
	b.said(t, at, want{m.ID, fail, "gate sealed until restart", "", nil, 1})
}

// quiet wants that nothing is logged above debug while nothing happens for some slots; on a busy machine the raft group may
// have its troubles meanwhile, which is no line a slot.
func (b *box) quiet(t *testing.T, slots uint64) {
	t.Helper()
	at, until := b.mark(), drill.SlotNow()+slots
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for drill.SlotNow() < until {
		<-tick.C
	}
	for id, list := range b.logs(at) {
		troubles := 0
		for _, l := range list {
			switch {
			case l.level == "DEBUG":
			case l.part == "raft" || l.part == "cluster" || l.part == "gossip":
				troubles++
			default:
				t.Errorf("%s says in plain production: %s", id, l.text)
			}
		}
		if troubles > int(slots)/4 {
			t.Errorf("%s has %d lines about the raft group in %d slots", id, troubles, slots)
		}
	}
}

// keyName is how a key is written.
var keyName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// wellFormed looks at every line.
func (b *box) wellFormed(t *testing.T) {
	t.Helper()
	for id, list := range b.logs(nil) {
		seen := map[string]bool{}
		for _, l := range list {
			once := ""
			switch {
			case l.attrs[logkey.Event] != nil:
				once = fmt.Sprint(l.msg, l.attrs[logkey.Index], l.attrs[logkey.Subject])
			case l.msg == "new leader":
				once = fmt.Sprint(l.msg, l.attrs[logkey.Term], l.attrs[logkey.Leader])
			}
			if once != "" && seen[once] {
				t.Errorf("%s says it twice: %s", id, l.text)
			}
			seen[once] = true
			if l.bad != nil {
				t.Errorf("%s: %v: %s", id, l.bad, l.text)
				continue
			}
			if !l.has(logkey.Member, id) {
				t.Errorf("%s: a line of %v: %s", id, l.attrs[logkey.Member], l.text)
			}
			for _, key := range l.keys {
				if !keyName.MatchString(key) {
					t.Errorf("%s: the key %q: %s", id, key, l.text)
				}
			}
			if slices.Contains(l.keys, "error") {
				t.Errorf("%s: an error stands under %q: %s", id, logkey.Err, l.text)
			}
		}
	}
}

// textLine is a line of the other format.
var textLine = regexp.MustCompile(`^time=\S+ level=(DEBUG|INFO|WARN|ERROR) msg=("(\\.|[^"\\])*"|[^ "]+) member=m\d( [a-zA-Z0-9_.-]+=("(\\.|[^"\\])*"|[^ "]*))*$`)

// plainText wants every line of the logs in slog's text format.
func (b *box) plainText(t *testing.T) {
	t.Helper()
	for _, m := range b.Members {
		text, err := os.ReadFile(filepath.Join(m.Home, "manager.log"))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for line := range strings.Lines(string(text)) {
			if n++; !textLine.MatchString(strings.TrimSuffix(line, "\n")) {
				t.Errorf("%s, line %d is in no text format: %s", m.ID, n, line)
			}
		}
		if n == 0 {
			t.Errorf("%s logged nothing", m.ID)
		}
	}
}
