package node

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"roundtable/chain"
)

// recorded is one request and answer of c-http.
type recorded struct {
	Request struct {
		Path string `json:"path"`
	} `json:"request"`
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
}

func recording(t testing.TB, name string) recorded {
	t.Helper()
	var r recorded
	if err := json.Unmarshal(must[[]byte](t)(os.ReadFile(filepath.Join("testdata/http", name+".json"))), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// replay serves recorded answers by path, as nodeos does: it wants its own Host, and no body on producer calls.
func replay(t testing.TB, answers map[string]recorded) *Client {
	t.Helper()
	var host string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a, ok := answers[r.URL.Path]
		switch {
		case r.Host != host:
			a = recorded{Status: 400, Body: json.RawMessage(`{"code":400,"message":"Disallowed HTTP HOST header in the request","error":{"code":0,"name":"","what":"","details":[]}}`)}
		case !ok:
			a = recording(t, "76-unknown-endpoint")
		case strings.HasPrefix(r.URL.Path, "/v1/producer/") && len(body) > 0 && !strings.HasSuffix(r.URL.Path, "/pause_at_block"):
			a = recording(t, "86-pause-with-body")
		}
		w.WriteHeader(a.Status)
		_, _ = w.Write(a.Body)
	}))
	t.Cleanup(srv.Close)
	host = strings.TrimPrefix(srv.URL, "http://")
	c := must[*Client](t)(NewClient(ClientConfig{Addr: host}))
	t.Cleanup(c.Close)
	return c
}

func TestClientReadsRecordedAnswers(t *testing.T) {
	ctx := t.Context()
	answers := map[string]recorded{}
	for _, name := range []string{"01-get_info", "11-get_block_info", "23-producer-paused", "26-producer-pause", "38-create_snapshot",
		"45-get_snapshot_requests", "51-get_runtime_options", "64-net-connections-b-after-connect-to-dead", "63-net-connect", "67-net-disconnect-unknown", "73-db_size-get"} {
		r := recording(t, name)
		answers[r.Request.Path] = r
	}
	answers["/v1/producer/resume"] = answers["/v1/producer/pause"]
	answers["/v1/chain/get_finalizer_info"] = recording(t, "get_finalizer_info-active")
	answers["/v1/chain/get_producer_schedule"] = recording(t, "get_producer_schedule-1-right-after-setprods")
	for _, path := range []string{"/v1/chain/get_finalizer_info", "/v1/chain/get_producer_schedule"} { // recorded without a request
		a := answers[path]
		a.Status = 200
		answers[path] = a
	}
	c := replay(t, answers)

	info := must[Info](t)(c.Info(ctx))
	if info.Head() != (chain.Block{Slot: slotOf(t, "2026-11-21T00:39:00.000"), Num: 25, ID: "000000194e2a0ed999d479783db3c4060d86c9a84a496af9caefa0adca811a86"}) ||
		info.LIBNum != 24 || info.HeadProducer != "eosio" || info.Version != "v1.2.2" || info.ChainID[:4] != "acd1" {
		t.Errorf("%+v", info)
	}
	if b := must[BlockInfo](t)(c.BlockInfo(ctx, 10)); b.Block().Num != 10 || b.Producer != "eosio" || b.Previous[:8] != "00000009" || b.Block().Slot != slotOf(t, "2026-11-21T00:38:52.500") {
		t.Errorf("%+v", b)
	}
	s := must[Schedules](t)(c.Schedule(ctx))
	if !slices.Equal(s.Active.Names(), []string{"eosio"}) || s.Active.Producers[0].Keys[0] != devPub || len(s.Pending.Producers) != 0 ||
		s.Proposed == nil || s.Proposed.Version != 1 || len(s.Proposed.Producers) != 3 || s.Proposed.Producers[2].Keys[0][:5] != "EOS5Z" {
		t.Errorf("%+v", s)
	}
	if f := must[Finalizers](t)(c.FinalizerInfo(ctx)); f.Active == nil || len(f.Active.Finalizers) != 3 || len(f.Votes) != 3 || !f.Votes[0].Strong {
		t.Errorf("%+v", f)
	}
	if must[bool](t)(c.Paused(ctx)) {
		t.Error("paused")
	}
	if err := errors.Join(c.Pause(ctx), c.Resume(ctx), c.Connect(ctx, "127.0.0.1:18999"), c.Disconnect(ctx, "127.0.0.1:18999")); err != nil {
		t.Error(err)
	}
	if s := must[Snapshot](t)(c.CreateSnapshot(ctx)); s.HeadNum != 33 || !strings.HasSuffix(s.Path, "b2f76e.bin") && !strings.HasSuffix(s.Path, ".bin") {
		t.Errorf("%+v", s)
	}
	if r := must[[]SnapshotRequest](t)(c.SnapshotRequests(ctx)); len(r) != 2 || r[0].Start != 41 {
		t.Errorf("%+v", r)
	}
	if o := must[RuntimeOptions](t)(c.RuntimeOptions(ctx)); o.ProduceBlockOffset != 456 {
		t.Errorf("%+v", o)
	}
	conns := must[[]Connection](t)(c.Connections(ctx))
	if len(conns) != 2 || conns[0].Connected() || !conns[1].Connected() || conns[1].Address() != "127.0.0.1:18901" {
		t.Errorf("%+v", conns)
	}
	conns[1].Peer = ""
	if conns[1].Address() != "127.0.0.1:18901" {
		t.Error(conns[1].Address())
	}
	if d := must[DBSize](t)(c.DBSize(ctx)); d.Size != 268434432 || d.Used != 4364448 {
		t.Errorf("%+v", d)
	}
	if _, err := c.Metrics(ctx); !errors.Is(err, ErrUnknownEndpoint) {
		t.Error(err)
	}
}

// TestClientAsksForWhatAnUpgradeWaitsFor: bodies as they are sent, and what is read of the answers.
func TestClientAsksForWhatAnUpgradeWaitsFor(t *testing.T) {
	var answer recorded
	var path, body string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		path, body = r.URL.Path, string(b)
		w.WriteHeader(answer.Status)
		_, _ = w.Write(answer.Body)
	}))
	defer srv.Close()
	c := must[*Client](t)(NewClient(ClientConfig{Addr: strings.TrimPrefix(srv.URL, "http://")}))
	defer c.Close()
	sent := func(name, want string) {
		t.Helper()
		if path != answer.Request.Path || body != want {
			t.Errorf("%s: sent %s to %s, want %s to %s", name, body, path, want, answer.Request.Path)
		}
	}
	ctx := t.Context()

	answer = recording(t, "34-pause_at_block")
	if err := c.PauseAtBlock(ctx, 31); err != nil {
		t.Error(err)
	}
	sent("pause_at_block", `{"block_num":31}`)
	if err := c.NoPauseAtBlock(ctx); err != nil {
		t.Error(err)
	}
	sent("no pause_at_block", `{"block_num":4294967295}`)
	answer = recording(t, "36-pause_at_block-in-the-past")
	if err := c.PauseAtBlock(ctx, 5); !errors.Is(err, ErrPastBlock) || !strings.Contains(err.Error(), "Pause at block 5 <= chain head 31") {
		t.Error(err)
	}

	answer = recording(t, "18-get_activated_protocol_features")
	if f, err := c.ActivatedFeatures(ctx); err != nil || len(f) != 0 {
		t.Error(f, err)
	}
	sent("features", `{"limit":1000}`)
	answer = recording(t, "get_activated_protocol_features-two")
	f := must[[]Feature](t)(c.ActivatedFeatures(ctx))
	if len(f) != 2 || f[0].Name() != "PREACTIVATE_FEATURE" || f[1].Name() != "ONLY_LINK_TO_EXISTING_PERMISSION" || f[1].Block != 77 || f[1].Ordinal != 1 || f[1].Digest[:8] != "1a99a59d" {
		t.Errorf("%+v", f)
	}
	if (Feature{}).Name() != "" {
		t.Error("a feature without a specification has no name")
	}

	answer = recording(t, "get_table_rows")
	rows := must[TableRows](t)(c.TableRows(ctx, TableQuery{Code: "eosio", Scope: "eosio", Table: "global", Lower: "a", Upper: "7", Limit: 1}))
	sent("rows", `{"json":true,"code":"eosio","scope":"eosio","table":"global","lower_bound":"a","upper_bound":"7","limit":1}`)
	if len(rows.Rows) != 1 || !rows.More || rows.Next != "7235159537265672192" || !strings.Contains(string(rows.Rows[0]), `"max_ram_size": "68719476736"`) {
		t.Errorf("%+v", rows)
	}
	for _, name := range []string{"get_table_rows-no-table", "17-get_account-unknown"} {
		answer = recording(t, name)
		if _, err := c.TableRows(ctx, TableQuery{Code: "eosio", Table: "none"}); !errors.Is(err, ErrNoTable) || errors.Is(err, ErrUnknownBlock) {
			t.Error(name, err)
		}
	}
	if !strings.HasSuffix(body, `"limit":10}`) {
		t.Error(body)
	}
}

func TestClientErrors(t *testing.T) {
	unknown := recording(t, "12-get_block_info-unknown")
	c := replay(t, map[string]recorded{unknown.Request.Path: unknown})
	_, err := c.BlockInfo(t.Context(), 99999999)
	var api *APIError
	if !errors.As(err, &api) || *api != (APIError{Path: "/v1/chain/get_block_info", Status: 400, Code: 3100002, Name: "unknown_block_exception",
		What: "Unknown block", Message: "Could not find block: 99999999"}) || !errors.Is(err, ErrUnknownBlock) || errors.Is(err, ErrUnknownEndpoint) {
		t.Errorf("%+v", err)
	}
	c.host = "localhost:1"
	if _, err = c.Info(t.Context()); !errors.As(err, &api) || api.Message != "Disallowed HTTP HOST header in the request" {
		t.Error(err)
	}
	if _, err := NewClient(ClientConfig{Addr: "8888"}); err == nil {
		t.Error("an address without a port")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	dead := must[*Client](t)(NewClient(ClientConfig{Addr: "127.0.0.1:1"}))
	if _, err := dead.Info(ctx); err == nil {
		t.Error("nobody answers there")
	}
}

// TestClientOverUnixSocket also closes the kept connection under the client: the next call must not fail for it.
func TestClientOverUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n.sock")
	l := must[net.Listener](t)(net.Listen("unix", path))
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("true")) }))
	_ = srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	defer srv.Close()
	c := must[*Client](t)(NewClient(ClientConfig{Addr: "unix://" + path}))
	defer c.Close()
	for range 5 {
		if !must[bool](t)(c.Paused(t.Context())) {
			t.Error("want true")
		}
		srv.CloseClientConnections()
	}
}
