package api

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"roundtable/cluster/health"
	"roundtable/fsm"
)

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	s := w.server(t)
	srv := listen(t, s)
	scrape := func() string {
		resp, err := srv.Client().Get(srv.URL + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %v %s", resp.StatusCode, err, b)
		}
		return string(b)
	}
	want := func(text string, lines ...string) {
		t.Helper()
		for _, l := range lines {
			if !strings.Contains(text, "\n"+l+"\n") {
				t.Errorf("no %q in\n%s", l, text)
			}
		}
	}
	want(scrape(), `roundtable_build_info{version="v1.2.3"} 1`, "roundtable_lease_epoch 1", `roundtable_lease_holder{id="a"} 1`, `roundtable_lease_holder{id="b"} 0`,
		"roundtable_lease_slots_left 4", "roundtable_gate_signatures_total 42", `roundtable_gate_refused_total{reason="no_lease"} 3`,
		`roundtable_gate_sign_seconds_bucket{le="0.001"} 40`, `roundtable_gate_sign_seconds_bucket{le="1"} 41`, `roundtable_gate_sign_seconds_bucket{le="+Inf"} 42`,
		"roundtable_slots_due_total 0", "roundtable_slots_doubled_total 0", "roundtable_raft_leader 1", "roundtable_raft_term 3", "roundtable_raft_commit_index 70",
		"roundtable_raft_apply_seconds_count 2", `roundtable_member_up{id="w"} 1`, `roundtable_clock_offset_seconds{id="b"} 0`, "roundtable_node_lag 1",
		"roundtable_node_head 999", `roundtable_operations_running{kind="handoff"} 0`)

	want(scrape(), "roundtable_gate_open 1", "roundtable_gate_sealed 0", "roundtable_alarms_total 0", `roundtable_lease_changes_total{kind="failover"} 0`)
	w.change(func(w *world) { w.peer("a", func(p *health.Peer) { p.Report.Sealed = "a jump of the clock" }) })
	want(scrape(), "roundtable_gate_sealed 1")

	// Windows and operations that end later are counted once each; the newest window waits for its successor.
	id := w.start(t)
	w.apply(t, fsm.FinishOperation{ID: id, Step: fsm.StepValidate, Outcome: fsm.Failed, Reason: "x"})
	first := slotNow.WindowFirst() + 12
	w.apply(t, fsm.PutWindow{Window: fsm.Window{Producer: "alice", First: first, Due: 12, Signed: 11, Missed: 1}})
	want(scrape(), "roundtable_slots_due_total 0", `roundtable_operations_total{kind="handoff",outcome="failed"} 1`, `roundtable_operation_seconds_count{kind="handoff"} 1`)
	w.apply(t, fsm.PutWindow{Window: fsm.Window{Producer: "alice", First: first + 12, Due: 12, Signed: 12}})
	for range 2 {
		want(scrape(), "roundtable_slots_due_total 12", "roundtable_slots_signed_total 11", "roundtable_slots_missed_total 1", `roundtable_operations_total{kind="handoff",outcome="failed"} 1`)
	}
}

// TestLeaseMetrics counts the changes of the lease and the alarms, each once, and only those since the manager started.
func TestLeaseMetrics(t *testing.T) {
	w := newWorld(t)
	s := w.server(t)
	s.started = now.Add(time.Millisecond) // what newWorld did came before
	srv := listen(t, s)
	want := func(alarms, grant, transfer, release, failover int) {
		t.Helper()
		resp, err := srv.Client().Get(srv.URL + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		lines := []string{fmt.Sprintf("roundtable_alarms_total %d", alarms)}
		for kind, n := range map[string]int{"grant": grant, "transfer": transfer, "release": release, "failover": failover} {
			lines = append(lines, fmt.Sprintf("roundtable_lease_changes_total{kind=%q} %d", kind, n))
		}
		for _, l := range lines {
			if !strings.Contains(string(b), "\n"+l+"\n") {
				t.Errorf("no %q", l)
			}
		}
	}
	want(0, 0, 0, 0, 0)
	s.started = now
	a, b, c := strings.Repeat("a", 32), strings.Repeat("b", 32), strings.Repeat("c", 32)
	w.apply(t, fsm.Transfer{Epoch: 1, Incarnation: a, Signed: slotNow, To: "b", ToIncarnation: b, Last: slotNow + 4})
	want(0, 0, 1, 0, 0)
	w.apply(t, fsm.Grant{Epoch: 3, Holder: "c", Incarnation: c, First: slotNow + 5, Last: slotNow + 8})  // b died
	w.apply(t, fsm.Grant{Epoch: 4, Holder: "c", Incarnation: c, First: slotNow + 9, Last: slotNow + 12}) // c was cut off for a while
	w.apply(t, fsm.Release{Epoch: 4, Incarnation: c, Signed: slotNow + 10})
	w.apply(t, fsm.Grant{Epoch: 5, Holder: "a", Incarnation: a, First: slotNow + 11, Last: slotNow + 12}) // not unplanned
	w.apply(t, fsm.RaiseAlarm{Name: "doubled", Subject: "alice", Text: "block 5"})
	for range 2 {
		want(1, 3, 1, 1, 1)
	}
}
