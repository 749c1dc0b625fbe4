package api

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"roundtable/cluster/health"
	"roundtable/fsm"
)

// scrape gets /metrics.
func scrape(t testing.TB, srv *httptest.Server) string {
	t.Helper()
	resp, err := srv.Client().Get(srv.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %v %s", resp.StatusCode, err, b)
	}
	return "\n" + string(b)
}

// scraped wants these lines in a scrape.
func scraped(t testing.TB, srv *httptest.Server, lines ...string) {
	t.Helper()
	text := scrape(t, srv)
	for _, l := range lines {
		if strings.Contains(text, "\n"+l+"\n") {
			continue
		}
		name, _, _ := strings.Cut(l, " ")
		name, _, _ = strings.Cut(name, "{")
		is := ""
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, name) {
				is += line
			}
		}
		t.Errorf("no %q, but\n%s", l, is)
	}
}

// certificate ends in an hour.
func certificate() (time.Time, string) { return now.Add(time.Hour), "" }

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	s := w.server(t)
	s.cfg.Certificate = certificate
	srv := listen(t, s)
	scraped(t, srv,
		`roundtable_build_info{version="v1.2.3"} 1`, `roundtable_member_info{cluster="demo",id="a"} 1`,
		"roundtable_lease_epoch 1", "roundtable_lease_held 1", `roundtable_lease_holder{id="a"} 1`, `roundtable_lease_holder{id="b"} 0`, "roundtable_lease_slots_left 4",
		"roundtable_lease_extensions_total 1", "roundtable_lease_extension_failures_total 1", `roundtable_lease_extend_seconds_bucket{le="0.001"} 1`,
		`roundtable_lease_refused_total{rule="lease.range"} 2`, `roundtable_lease_changes_total{kind="failover"} 0`, "roundtable_alarms_total 0",
		"roundtable_gate_open 1", "roundtable_gate_sealed 0", "roundtable_gate_signatures_total 42", `roundtable_gate_refused_total{reason="no_lease"} 3`,
		`roundtable_gate_sign_seconds_bucket{le="0.001"} 40`, `roundtable_gate_sign_seconds_bucket{le="1"} 41`, `roundtable_gate_sign_seconds_bucket{le="+Inf"} 42`,
		"roundtable_slots_due_total 0", "roundtable_slots_doubled_total 0",
		"roundtable_raft_leader 1", "roundtable_raft_leader_known 1", "roundtable_raft_term 3", "roundtable_raft_commit_index 70",
		"roundtable_raft_voters 3", "roundtable_raft_voters_alive 3", "roundtable_raft_refused_total 3", "roundtable_raft_apply_seconds_count 2",
		`roundtable_member_up{id="w"} 1`, `roundtable_member_fit{id="b"} 1`, `roundtable_clock_offset_seconds{id="b"} 0`, "roundtable_maintenance 0", `roundtable_member_maintenance{id="b"} 0`,
		"roundtable_node_up 1", `roundtable_node_state{state="running"} 1`, `roundtable_node_state{state="failed"} 0`, "roundtable_node_lag 1", "roundtable_node_head 999",
		"roundtable_node_starts_total 2", "roundtable_node_restarts_total 1", `roundtable_node_log_lines_total{level="warn"} 4`, "roundtable_node_log_unknown_total 5",
		"head_block_number 999", "head_block_time_drift 0.5", "ready 1", "nodeos_connected_peers_total 2", `nodeos_db_size_info_bytes{metric="used"} 7`, "nodeos_is_block_producer 1",
		`roundtable_operations_running{kind="handoff"} 0`, `roundtable_operations_total{kind="handoff",outcome="done"} 0`,
		`roundtable_certificate_expiry_seconds{certificate="member"} 3600`)

	w.change(func(w *world) {
		w.peer("a", func(p *health.Peer) { p.Report.Sealed = "a jump of the clock" })
		w.peer("b", func(p *health.Peer) { p.Alive = false })
		w.leader, w.leading = "", false
	})
	scraped(t, srv, "roundtable_gate_sealed 1", "roundtable_raft_voters_alive 2", "ready 0", "roundtable_raft_leader_known 0", "roundtable_raft_leader 0")
}

// TestMetricsOfWhatEnded adds up windows and operations that end later, each once; the newest window waits for its
// successor.
func TestMetricsOfWhatEnded(t *testing.T) {
	w := newWorld(t)
	srv := listen(t, w.server(t))
	scraped(t, srv, "roundtable_slots_due_total 0")
	id := w.start(t)
	scraped(t, srv, `roundtable_operations_running{kind="handoff"} 1`)
	w.apply(t, fsm.FinishOperation{ID: id, Step: fsm.StepValidate, Outcome: fsm.Failed, Reason: "x"})
	first := slotNow.WindowFirst() + 12
	w.apply(t, fsm.PutWindow{Window: fsm.Window{Producer: "alice", First: first, Due: 12, Signed: 11, Missed: 1}})
	scraped(t, srv, "roundtable_slots_due_total 0", `roundtable_operations_total{kind="handoff",outcome="failed"} 1`, `roundtable_operation_seconds_count{kind="handoff"} 1`)
	w.apply(t, fsm.PutWindow{Window: fsm.Window{Producer: "alice", First: first + 12, Due: 12, Signed: 12}})
	for range 2 {
		scraped(t, srv, "roundtable_slots_due_total 12", "roundtable_slots_signed_total 11", "roundtable_slots_missed_total 1", `roundtable_operations_total{kind="handoff",outcome="failed"} 1`)
	}
}

// TestLeaseMetrics counts the changes of the lease and the alarms, each once, and only those since the manager started.
func TestLeaseMetrics(t *testing.T) {
	later, same := newPast(now.Add(time.Millisecond)), newPast(now) // what newWorld did came before the one, not the other
	w := newWorld(t)
	want := func(p *past, alarms, grant, transfer, release, failover uint64) {
		t.Helper()
		s, _ := w.View()
		p.history(s)
		is := map[string]uint64{"alarms": p.alarms, "grant": p.changes["grant"], "transfer": p.changes["transfer"], "release": p.changes["release"], "failover": p.changes["failover"]}
		if diff := gocmp.Diff(map[string]uint64{"alarms": alarms, "grant": grant, "transfer": transfer, "release": release, "failover": failover}, is); diff != "" {
			t.Error(diff)
		}
	}
	want(later, 0, 0, 0, 0, 0)
	want(same, 0, 1, 0, 0, 0)
	a, b, c := strings.Repeat("a", 32), strings.Repeat("b", 32), strings.Repeat("c", 32)
	w.apply(t, fsm.Transfer{Epoch: 1, Incarnation: a, Signed: slotNow, To: "b", ToIncarnation: b, Last: slotNow + 4})
	want(same, 0, 1, 1, 0, 0)
	w.apply(t, fsm.Grant{Epoch: 3, Holder: "c", Incarnation: c, First: slotNow + 5, Last: slotNow + 8})  // b died
	w.apply(t, fsm.Grant{Epoch: 4, Holder: "c", Incarnation: c, First: slotNow + 9, Last: slotNow + 12}) // c was cut off for a while
	w.apply(t, fsm.Release{Epoch: 4, Incarnation: c, Signed: slotNow + 10})
	w.apply(t, fsm.Grant{Epoch: 5, Holder: "a", Incarnation: a, First: slotNow + 11, Last: slotNow + 12}) // not unplanned
	w.apply(t, fsm.RaiseAlarm{Name: "doubled", Subject: "alice", Text: "block 5"})
	for range 2 {
		want(same, 1, 4, 1, 1, 1)
	}
	want(later, 0, 0, 0, 0, 0)
}

// TestRequestMetrics counts by route and status, whatever a client writes into its path.
func TestRequestMetrics(t *testing.T) {
	w := newWorld(t)
	srv := listen(t, w.server(t))
	for _, path := range []string{"/cluster", "/cluster", "/cluster/members/b", "/cluster/members/zzz", "/no/such/" + strings.Repeat("x", 99), "/cluster?no=such"} {
		ask(t, srv, http.MethodGet, path, "", nil)
	}
	ask(t, srv, http.MethodHead, "/version", "", nil)
	ask(t, srv, "BREW", "/version", "", nil)
	ask(t, srv, http.MethodPost, "/cluster/handoff", "{}", nil, "Sec-Fetch-Site", "cross-site")
	scraped(t, srv,
		`roundtable_api_requests_total{code="200",route="GET /cluster"} 2`, `roundtable_api_requests_total{code="400",route="GET /cluster"} 1`,
		`roundtable_api_requests_total{code="200",route="GET /cluster/members/:id"} 1`, `roundtable_api_requests_total{code="404",route="GET /cluster/members/:id"} 1`,
		`roundtable_api_requests_total{code="404",route="none"} 1`, `roundtable_api_requests_total{code="405",route="none"} 1`,
		`roundtable_api_requests_total{code="200",route="GET /version"} 1`, `roundtable_api_request_seconds_count{route="GET /cluster"} 3`,
		`roundtable_api_refused_total{reason="cross_origin"} 1`, "roundtable_api_event_streams 0")
}

// TestScrapeWaitsForNothing scrapes while the disk does not answer.
func TestScrapeWaitsForNothing(t *testing.T) {
	w := newWorld(t)
	stuck := make(chan struct{})
	defer close(stuck)
	w.raft = func() { <-stuck }
	srv := listen(t, w.server(t))
	began := time.Now()
	scraped(t, srv, "roundtable_raft_voters 3")
	if took := time.Since(began); took > time.Second {
		t.Errorf("a scrape took %v with a disk that does not answer", took)
	}
}

var rewrite = flag.Bool("rewrite", false, "write the reference of the metrics anew")

const reference = "../docs/reference/metrics.md"

// TestMetricsReference gathers everything and holds it to what is declared, and the reference to that.
func TestMetricsReference(t *testing.T) {
	w := newWorld(t)
	s := w.server(t)
	s.cfg.Certificate = certificate
	s.cfg.Handshakes = func() map[string]uint64 { return map[string]uint64{"foreign_certificate": 1} }
	w.backUp(t, fsm.CopiesData, "default")
	if _, err := w.PutPlan(t.Context(), fsm.Plan{ID: "nightly", Name: fsm.KindSweep, Every: 3_600_000}); err != nil {
		t.Fatal(err)
	}
	srv := listen(t, s)
	s.Refuse(reasonRate)
	ask(t, srv, http.MethodGet, "/cluster", "", nil)
	gathered, err := s.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	is := map[string]string{}
	for _, g := range gathered {
		if strings.HasPrefix(g.GetName(), "go_") || strings.HasPrefix(g.GetName(), "process_") {
			continue
		}
		labels := []string{}
		for _, l := range g.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		slices.Sort(labels)
		is[g.GetName()] = strings.ToLower(g.GetType().String()) + fmt.Sprint(labels)
	}
	want := map[string]string{}
	for _, f := range families {
		if want[f.name] != "" {
			t.Errorf("%s is declared twice", f.name)
		}
		want[f.name] = f.kind + fmt.Sprint(slices.Sorted(slices.Values(f.labels)))
		if !strings.HasSuffix(f.help, ".") && !strings.HasSuffix(f.help, ".)") {
			t.Errorf("%s: its help is no sentence: %s", f.name, f.help)
		}
	}
	if diff := gocmp.Diff(want, is); diff != "" {
		t.Errorf("declared and gathered differ:\n%s", diff)
	}
	text := referenceText()
	if *rewrite {
		if err := os.WriteFile(reference, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(have), text); diff != "" {
		t.Errorf("docs/reference/metrics.md is out of date; run: go test ./api -run TestMetricsReference -rewrite\n%s", diff)
	}
}

// referenceText is docs/reference/metrics.md.
func referenceText() string {
	var b strings.Builder
	b.WriteString(`# Metrics

What GET /metrics of each manager says; it needs the role read. This page is written from the program
(` + "`go test ./api -run TestMetricsReference -rewrite`" + `). Beside these there are the usual ` + "`go_*` and `process_*`" + ` of the manager's own process.

Names, types and labels stay as they are. Counters begin at 0 when a manager starts. What all members know (the lease, the
slots, the members) every member says: take the maximum over the members, for one that is cut off knows less. What is one
member's own (gate, node, raft, API) has only the label ` + "`instance`" + ` that Prometheus adds; ` + "`roundtable_member_info`" + ` says whose
instance it is. A witness has no gate and no node.

The alerts (deploy/prometheus/alerts.yml) and the dashboard (deploy/grafana) use these names.

| name | type | labels | what it says |
|---|---|---|---|
`)
	for _, f := range families {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.name, f.kind, cmp.Or(strings.Join(f.labels, ", "), "-"), strings.ReplaceAll(f.help, "|", "\\|"))
	}
	return b.String()
}
