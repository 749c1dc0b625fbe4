package fsm

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew; review the difference as a trace")

// TestGolden replays testdata/*.txt. A scenario is a list of entries, one per line:
//
//	TIME BY[#KEY][!ACTOR] KIND BODY
//
// with the body as it stands in the log, where "@a0" is short for the incarnation of a's first process, "@a1" of its
// second. The line `restart` sends the state through a raft snapshot. Under each line stand what it changed in the state,
// or the refusal.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 25 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, string(want))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("%s differs; run with -rewrite and review:\n%s", file, got)
			}
		})
	}
}

func replay(t *testing.T, scenario string) string {
	var out strings.Builder
	s := New()
	for line := range strings.Lines(scenario) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "    ") {
			continue // what it gave when it was written
		}
		fmt.Fprintln(&out, line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		before := s
		var result Result
		if line == "restart" {
			restored, err := Unmarshal(bytesOf(t, s))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(bytesOf(t, s), bytesOf(t, restored)) {
				t.Fatal("the restored state differs")
			}
			s = restored
			continue
		}
		s, result = s.Apply(golden(t, line, s.Index+1))
		for _, text := range changes(before, s, result) {
			fmt.Fprintln(&out, "    "+text)
		}
	}
	return out.String()
}

var shortIncarnation = regexp.MustCompile(`"@([a-z])(\d)"`)

// golden turns a line into an entry.
func golden(t *testing.T, line string, index uint64) Entry {
	t.Helper()
	f := strings.SplitN(line, " ", 4)
	if len(f) != 4 {
		t.Fatalf("not TIME BY KIND BODY: %q", line)
	}
	body := shortIncarnation.ReplaceAllStringFunc(f[3], func(short string) string {
		return strconv.Quote(inc(short[2:3], int(short[3]-'0')))
	})
	by, actor, _ := strings.Cut(f[1], "!")
	by, key, _ := strings.Cut(by, "#")
	var e Entry
	var err error
	for version := 1; version <= EntryVersion; version++ {
		if e, err = Decode(fmt.Appendf(nil, `{"v":%d,"kind":%q,"at":%s,"by":%q,"key":%q,"actor":%q,"body":%s}`, version, f[2], f[0], by, key, actor, body)); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	e.Index = index
	return e
}

// rolledOn says how far a rolling operation is, or one on a backup; "" for another one.
func rolledOn(o Operation) string {
	if !o.stepped() {
		return ""
	}
	var text strings.Builder
	for _, p := range o.Current().Parts {
		switch {
		case p.Fault != "":
			fmt.Fprintf(&text, "; %s failed", p.Member)
		case p.Ended != 0:
			fmt.Fprintf(&text, "; %s ended", p.Member)
		default:
			fmt.Fprintf(&text, "; %s %d %% %s", p.Member, p.Percent, p.Text)
		}
	}
	if o.Task != nil {
		if o.Task.Cancel {
			text.WriteString("; being canceled")
		}
		return text.String()
	}
	for _, list := range []struct {
		name string
		ids  []string
	}{{"through", o.Roll.Done}, {"undone", o.Roll.Undone}} {
		if len(list.ids) > 0 {
			fmt.Fprintf(&text, "; %s: %s", list.name, strings.Join(list.ids, " "))
		}
	}
	if o.Roll.Cancel {
		text.WriteString("; being canceled")
	}
	return text.String()
}

// changes describes what an entry did.
func changes(before, after *State, result Result) (lines []string) {
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	short := func(incarnation string) string { return incarnation[:1] + incarnation[len(incarnation)-1:] }
	if result.Index != after.Index {
		say("answered as at index %d", result.Index)
	}
	if result.Err != nil {
		say("refused %v", result.Err)
	}
	if l := after.Lease; l != before.Lease {
		text := "open"
		if l.Released {
			text = "released"
		}
		say("lease   epoch %d, %s, slots %d..%d, %s", l.Epoch, short(l.Incarnation), l.First, l.Last, text)
	}
	if after.After != before.After {
		say("after   block %d of slot %d", after.After.Num, after.After.Slot)
	}
	for _, id := range after.MemberIDs() {
		if m, o := after.Members[id], before.Members[id]; fmt.Sprint(m) != fmt.Sprint(o) {
			say("member  %s, priority %d, maintenance %v", short(m.Incarnation), m.Priority, m.Maintenance)
		}
	}
	for _, o := range after.Operations {
		if old, _ := before.Operation(o.ID); fmt.Sprint(o) != fmt.Sprint(old) {
			if o.Outcome == Running {
				say("running %s %d: step %q of %q until %d%s", o.Kind, o.ID, o.Current().Name, o.Current().Assignee, o.Deadline, rolledOn(o))
			} else {
				say("ended   %s %d: %s at %d", o.Kind, o.ID, o.Outcome, o.Ended)
			}
		}
	}
	for _, h := range after.History {
		if h.Index == after.Index {
			actor := ""
			if h.Actor != "" {
				actor = "[" + h.Actor + "] "
			}
			say("history %s", strings.TrimSpace(fmt.Sprintf("%s%s %s %s", actor, h.Kind, h.Subject, h.Text)))
		}
	}
	for _, id := range after.MemberIDs() {
		if h := after.Homes[id]; h != before.Homes[id] {
			restored := ""
			if h.Restored != 0 {
				restored = fmt.Sprint(", restored at ", h.Restored)
			}
			say("home    %s is to run %q %q, runs %q %q, offers %q, refuses %q%s", id, h.Tag, h.Config, h.Runs.Tag, h.Runs.Config, h.Runs.Offers, h.Refused, restored)
		}
	}
	lines = append(lines, catalogueChanges(before, after)...)
	if c := after.Cluster; c.Overlay != before.Cluster.Overlay || (c.Proven == nil) != (before.Cluster.Proven == nil) {
		say("overlay %q, proved %v", c.Overlay, c.Proven == nil)
	}
	if after.Level != before.Level {
		say("level   %d", after.Level)
	}
	if after.Round.Window != before.Round.Window || len(after.Round.Windows) != len(before.Round.Windows) {
		say("round   window %d, %d finished", after.Round.Window, len(after.Round.Windows))
	}
	if lines == nil {
		say("nothing changed")
	}
	return lines
}

// catalogueChanges describes what an entry did to the backups and the plans.
func catalogueChanges(before, after *State) (lines []string) {
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, id := range slices.Sorted(maps.Keys(after.Backups)) {
		b := after.Backups[id]
		if b == before.Backups[id] {
			continue
		}
		text := fmt.Sprintf("%s of %s in %s", b.Copies, b.Member, b.Repository)
		if b.Of.Head != 0 {
			text += fmt.Sprintf(", blocks %d to %d", b.Of.First, b.Of.Head)
		}
		if b.Expires != 0 {
			text += fmt.Sprintf(", expires at %d", b.Expires)
		}
		if b.Verified != 0 {
			text += fmt.Sprintf(", verified at %d", b.Verified)
		}
		if b.Suspect {
			text += ", suspect"
		}
		say("backup  %s is %s: %s%s", id, b.State, text, because(b.Fault))
	}
	for _, d := range after.Dropped[min(len(before.Dropped), len(after.Dropped)):] {
		say("dropped %s of %s", d.ID, d.Repository)
	}
	for _, id := range slices.Sorted(maps.Keys(after.Plans)) {
		if p := after.Plans[id]; fmt.Sprint(p) != fmt.Sprint(before.Plans[id]) {
			say("plan    %s is due at %d, block %d, try %d, disabled %v; fired %d times, skipped %d", id, p.Due, p.DueBlock, p.Try, p.Disabled, p.Count, p.Skipped)
		}
	}
	return lines
}
