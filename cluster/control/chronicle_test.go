package control

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"roundtable/fsm"
	"roundtable/logkey"
)

// TestChronicle: the lines of the history that concern a member are in its log, each once, from its joining on.
func TestChronicle(t *testing.T) {
	var out bytes.Buffer
	m := NewManager(Config{Record: fsm.Member{ID: "b", Incarnation: strings.Repeat("b", 32)}})
	c := &chronicle{Manager: m, log: slog.New(slog.NewJSONHandler(&out, nil))}
	s := &fsm.State{Members: map[string]fsm.Member{}}
	said := func() (list []string) {
		t.Helper()
		if _, err := c.Reconcile(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(out.Bytes()) {
			var l map[string]any
			if err := json.Unmarshal(line, &l); err != nil {
				t.Fatal(err)
			}
			list = append(list, l["level"].(string)+" "+l["msg"].(string)+" "+l[logkey.Subject].(string))
		}
		out.Reset()
		return list
	}
	happens := func(events ...fsm.Event) {
		next := *s
		next.History = slices.Clone(s.History)
		for _, e := range events {
			next.Index++
			e.Index = next.Index
			next.History = append(next.History, e)
		}
		s = &next
	}
	want := func(lines ...string) {
		t.Helper()
		if diff := cmp.Diff(lines, said()); diff != "" {
			t.Error(diff)
		}
	}
	happens(fsm.Event{Kind: "member.joined", By: "b", Subject: "b"}, fsm.Event{Kind: "lease.granted", By: "a", Subject: "b"}) // of its life before
	want()
	happens(fsm.Event{Kind: "member.started", By: "b", Subject: "b"}, fsm.Event{Kind: "lease.granted", By: "a", Subject: "b"})
	want()
	s.Members = map[string]fsm.Member{"b": {ID: "b", Incarnation: strings.Repeat("b", 32)}}
	want("INFO member started b", "INFO lease granted b")
	want()
	happens(
		fsm.Event{Kind: "lease.transferred", By: "b", Subject: "c"}, fsm.Event{Kind: "lease.released", By: "c", Subject: "c"},
		fsm.Event{Kind: "cluster.set", By: "a", Subject: "demo"}, fsm.Event{Kind: "operation.failed", By: "b", Subject: "a"},
		fsm.Event{Kind: "alarm.doubled", By: "a", Subject: "bp"}, fsm.Event{Kind: "member.set", By: "a", Subject: "a"})
	want("INFO lease transferred c", "INFO cluster set demo", "WARN operation failed a", "ERROR alarm doubled bp")
	s.Index += 5 // extensions
	want()
	s.History = s.History[len(s.History)-1:] // it is bounded
	happens(fsm.Event{Kind: "lease.released", By: "b", Subject: "b"})
	want("WARN lease released b")
}
