package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"roundtable/chain"
	"roundtable/cluster"
	"roundtable/cluster/control"
	"roundtable/cluster/health"
	"roundtable/fsm"
	"roundtable/meter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// now is a fixed moment; slotNow its slot.
var (
	now     = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	slotNow = chain.SlotAt(now.UnixMilli())
)

// world is a small cluster of fakes: it is the Cluster and the Control of a Server.
type world struct {
	mu         sync.Mutex
	state      *fsm.State
	changed    chan struct{}
	peers      map[string]health.Peer
	leader     string
	leading    bool
	candidates []control.Candidate
	waiting    string // why operations do not go on
	reason     string
	doubled    uint64
	voteless   []string
	raft       func() // called when raft's folder is looked into
	handoff    func(ctx context.Context, to, when, key string) (uint64, error)
	operator
}

// newWorld is a healthy cluster of a (holder, who answers, leads), b and c, with the witness w.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{state: fsm.New(), changed: make(chan struct{}), peers: map[string]health.Peer{}, leader: "a", leading: true, reason: "the lease is held"}
	w.apply(t, fsm.SetCluster{Cluster: fsm.Cluster{Name: "demo", Producers: []string{"alice"}, Slots: 4}})
	for _, id := range []string{"a", "b", "c", "w"} {
		m := fsm.Member{ID: id, Incarnation: strings.Repeat(id, 32), API: "http://" + id + ":9080", Raft: id + ":9070", P2P: id + ":9876", EntryVersion: fsm.EntryVersion, Version: "v1", Witness: id == "w"}
		r := health.Report{Member: id, Incarnation: m.Incarnation, At: now.UnixMilli(), Node: "none", Reason: "witness"}
		if !m.Witness {
			m.Fence, m.Node = "gate", "v1.2.2"
			r.Node, r.Fit, r.Reason, r.Paused, r.Peers, r.LIB = "running", true, "", id != "a", 2, 998
			r.Head = chain.Block{Slot: slotNow, Num: 1000, ID: strings.Repeat("0", 64)}
		}
		w.apply(t, fsm.PutMember{Member: m})
		w.peers[id] = health.Peer{Report: r, Seen: now.Add(-300 * time.Millisecond), Alive: true, RTT: time.Millisecond}
		c := control.Candidate{ID: id, Fit: !m.Witness}
		if m.Witness {
			c.Reason = "is a witness: it has no node"
		}
		w.candidates = append(w.candidates, c)
	}
	w.apply(t, fsm.Grant{Epoch: 1, Holder: "a", Incarnation: strings.Repeat("a", 32), First: slotNow - 2, Last: slotNow + 4, Reason: "first lease"})
	w.apply(t, fsm.PutRound{Version: 7, Schedule: []string{"alice"}, Producers: map[string]fsm.ProducerRound{"alice": {State: fsm.ProducingNow, InSchedule: true}}, Window: slotNow.Window()})
	w.apply(t, fsm.PutWindow{Window: fsm.Window{Producer: "alice", First: slotNow.WindowFirst() - 12, Due: 12, Signed: 12}})
	return w
}

// apply commits a command: it must be accepted.
func (w *world) apply(t testing.TB, c fsm.Command) uint64 {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	next, r := w.state.Apply(fsm.Entry{Index: w.state.Index + 1, At: now.UnixMilli(), By: "a", Command: c})
	if r.Err != nil {
		t.Fatalf("%s: %v", c.Kind(), r.Err)
	}
	w.state = next
	close(w.changed)
	w.changed = make(chan struct{})
	return r.Index
}

// change edits the fakes.
func (w *world) change(f func(w *world)) *world {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w)
	return w
}

// peer edits one member's report.
func (w *world) peer(id string, f func(p *health.Peer)) {
	p := w.peers[id]
	f(&p)
	w.peers[id] = p
}

// unfit makes a candidate unfit.
func (w *world) unfit(id, reason string) {
	for i := range w.candidates {
		if w.candidates[i].ID == id {
			w.candidates[i] = control.Candidate{ID: id, Reason: reason}
		}
	}
}

func (w *world) View() (*fsm.State, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state, w.changed
}

func (w *world) Peers() map[string]health.Peer {
	w.mu.Lock()
	defer w.mu.Unlock()
	peers := map[string]health.Peer{}
	for id, p := range w.peers {
		peers[id] = p
	}
	return peers
}

func (w *world) Leader() (string, string)        { return w.leader, w.leader }
func (w *world) IsLeader() bool                  { return w.leading }
func (w *world) Candidates() []control.Candidate { return w.candidates }
func (w *world) LeaseReason() string             { return w.reason }
func (w *world) OperationReason(uint64) string   { return w.waiting }
func (w *world) Doubled() uint64                 { return w.doubled }

func (w *world) Extensions() control.Extensions {
	h := meter.NewHistogram(meter.Commits)
	h.Observe(time.Millisecond)
	return control.Extensions{Failed: 1, Seconds: h.Read()}
}

func (w *world) Metrics() cluster.Metrics {
	apply := meter.NewHistogram(meter.Commits)
	apply.Observe(time.Millisecond)
	apply.Observe(499 * time.Millisecond)
	return cluster.Metrics{
		Leader: w.leading, Term: 3, CommitIndex: 70, AppliedIndex: 70, Voters: []string{"a", "b", "c"},
		Refused: map[string]uint64{fsm.ErrRange.Rule: 2, fsm.ErrBusy.Rule: 1}, Apply: apply.Read(),
	}
}

func (w *world) Raft() cluster.RaftStatus {
	if w.raft != nil {
		w.raft()
	}
	s := cluster.RaftStatus{ID: "a", State: "leader", Term: 3, Leader: w.leader, LastIndex: 70, Peers: []cluster.RaftPeer{}, Snapshots: []cluster.Snapshot{}}
	state, _ := w.View()
	for _, id := range state.MemberIDs() {
		suffrage := "voter"
		if slices.Contains(w.voteless, id) {
			suffrage = "nonvoter"
		}
		s.Peers = append(s.Peers, cluster.RaftPeer{ID: id, Suffrage: suffrage, Alive: true})
	}
	return s
}

func (w *world) Handoff(ctx context.Context, to, when, key string) (uint64, error) {
	return w.handoff(ctx, to, when, key)
}

// start commits a handoff to b, as control does.
func (w *world) start(t testing.TB) uint64 {
	t.Helper()
	return w.apply(t, fsm.StartOperation{Name: fsm.KindHandoff, Handoff: &fsm.Handoff{To: "b", When: "now"}, Deadline: now.UnixMilli() + 5000})
}

func (w *world) server(t testing.TB) *Server {
	t.Helper()
	s, err := New(Config{Self: "a", Version: "v1.2.3", Sandbox: true, Cluster: w, Control: w, Now: func() time.Time { return now },
		Local: func() Local {
			return Local{
				Node: &LocalNode{
					State: "running", Head: chain.Block{Slot: slotNow - 1, Num: 999}, LIB: 997, Peers: 2, Starts: 2, Restarts: 1,
					Lines: map[string]uint64{"warn": 4}, Unknown: 5, DB: LocalDB{Size: 10, Used: 7, Free: 3},
				},
				Gate: &LocalGate{Open: true, Signatures: 42, Refused: map[string]uint64{"no_lease": 3},
					SignSeconds: meter.Distribution{Bounds: []time.Duration{time.Millisecond, time.Second}, Counts: []uint64{40, 1, 1}, Count: 42, Sum: time.Second}},
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// listen serves the API over real HTTP until the test ends.
func listen(t testing.TB, s *Server) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		srv.Close()
	})
	return srv
}

// ask sends a request and decodes the JSON answer into v, which may be nil.
func ask(t testing.TB, srv *httptest.Server, method, path, body string, v any, headers ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if v != nil {
		if err := json.Unmarshal(raw, v); err != nil {
			t.Fatalf("%s %s: %v in %s", method, path, err, raw)
		}
	}
	return resp
}
