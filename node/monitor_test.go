package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"roundtable/chain"
)

// fakeAPI is the HTTP side of a node whose main thread can be stuck.
type fakeAPI struct {
	mu      sync.Mutex
	chain   fakeChain
	paused  bool
	stuck   bool
	dead    bool
	peers   string
	savanna bool
	release chan struct{}
}

func (a *fakeAPI) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

func (a *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	stuck := a.stuck
	a.mu.Unlock()
	if stuck && r.URL.Path != "/v1/chain/get_info" && r.URL.Path != "/v1/chain/get_block_info" {
		select { // answered from a cache above, by the main thread here
		case <-r.Context().Done():
		case <-a.release:
		}
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.dead {
		panic(http.ErrAbortHandler)
	}
	block := func(b BlockInfo) (id, at string) { return b.ID, b.Time.UTC().Format("2006-01-02T15:04:05.000") }
	switch r.URL.Path {
	case "/v1/chain/get_info":
		b := a.chain.blocks[len(a.chain.blocks)-1]
		id, at := block(b)
		_, _ = fmt.Fprintf(w, `{"chain_id":"c","server_version_string":"v1.2.2","head_block_num":%d,"head_block_id":%q,"head_block_time":%q,"head_block_producer":"eosio","last_irreversible_block_num":%d}`, b.Num, id, at, b.Num-1)
	case "/v1/chain/get_block_info":
		var in map[string]uint32
		_ = json.NewDecoder(r.Body).Decode(&in)
		b, err := a.chain.get(context.Background(), in["block_num"])
		if err != nil {
			w.WriteHeader(400)
			_, _ = fmt.Fprint(w, `{"code":400,"error":{"name":"unknown_block_exception"}}`)
			return
		}
		id, at := block(b)
		_, _ = fmt.Fprintf(w, `{"block_num":%d,"id":%q,"previous":%q,"timestamp":%q,"producer":"eosio"}`, b.Num, id, b.Previous, at)
	case "/v1/producer/paused":
		w.WriteHeader(201)
		_, _ = fmt.Fprint(w, a.paused)
	case "/v1/net/connections":
		w.WriteHeader(201)
		_, _ = fmt.Fprint(w, a.peers)
	case "/v1/chain/get_producer_schedule":
		_, _ = fmt.Fprint(w, `{"active":{"version":0,"producers":[{"producer_name":"eosio","authority":[0,{"threshold":1,"keys":[{"key":"EOS6","weight":1}]}]}]},"pending":{"version":0,"producers":[]},"proposed":null}`)
	case "/v1/chain/get_finalizer_info":
		_, _ = fmt.Fprint(w, map[bool]string{false: `{"active_finalizer_policy":null}`, true: `{"active_finalizer_policy":{"generation":1}}`}[a.savanna])
	case "/v1/db_size/get":
		_, _ = fmt.Fprint(w, `{"free_bytes":1,"used_bytes":2,"size":3}`)
	default:
		w.WriteHeader(404)
	}
}

// bench is a monitor over a fake API.
type bench struct {
	*Monitor
	t      *testing.T
	api    *fakeAPI
	blocks chan chain.Block
}

func newBench(t *testing.T, change func(*MonitorConfig)) *bench {
	api := &fakeAPI{peers: "[]", paused: true, release: make(chan struct{})}
	for range 3 {
		api.chain.grow()
	}
	srv := httptest.NewServer(api)
	c := must[*Client](t)(NewClient(ClientConfig{Addr: strings.TrimPrefix(srv.URL, "http://")}))
	b := &bench{t: t, api: api, blocks: make(chan chain.Block, 1000)}
	cfg := MonitorConfig{Client: c, Producers: []string{"eosio"}, Poll: 5 * time.Millisecond, Slow: 20 * time.Millisecond, Rare: 40 * time.Millisecond,
		OnBlock: func(blk BlockInfo) { b.blocks <- blk.Block() }}
	if change != nil {
		change(&cfg)
	}
	b.Monitor = NewMonitor(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; close(api.release); c.Close(); srv.Close() })
	return b
}

func (b *bench) until(what string, cond func(*View) bool) *View {
	b.t.Helper()
	limit := time.After(10 * time.Second)
	for {
		v, changed := b.View()
		if cond(v) {
			return v
		}
		select {
		case <-changed:
		case <-limit:
			b.t.Fatalf("not %s: %+v", what, *v)
		}
	}
}

func TestMonitorView(t *testing.T) {
	b := newBench(t, nil)
	v := b.until("complete", func(v *View) bool {
		return v.Healthy && v.PausedKnown && v.ScheduleKnown && v.PeersKnown && v.DB.Size == 3
	})
	if v.Head.Num != 3 || v.LIB != 2 || !v.Paused || v.Stalled || v.Peers != 0 || v.Version != "v1.2.2" || v.ChainID != "c" ||
		v.Savanna || v.Schedule.Producers[0].Keys[0] != "EOS6" || v.HeadAt.IsZero() || v.HeadProducer != "eosio" {
		t.Errorf("%+v", *v)
	}
	if blk := <-b.blocks; blk.Num != 3 {
		t.Error(blk)
	}
	b.api.set(func() {
		for range 5 {
			b.api.chain.grow()
		}
		b.api.savanna = true
		b.api.peers = `[{"peer":"127.0.0.1:1","is_socket_open":true,"last_handshake":{"generation":1}},{"peer":"x","is_socket_open":false}]`
	})
	v = b.until("grown", func(v *View) bool { return v.Head.Num == 8 && v.Savanna && v.Peers == 1 })
	if v.PeerAddresses[0] != "127.0.0.1:1" {
		t.Error(v.PeerAddresses)
	}
	for n := uint32(4); n <= 8; n++ {
		if blk := <-b.blocks; blk.Num != n {
			t.Error(blk)
		}
	}
	b.api.set(func() { b.api.chain.blocks = b.api.chain.blocks[:6]; b.api.chain.grow() }) // a fork switch to a shorter chain
	if blk := <-b.blocks; blk.Num != 7 || !strings.HasSuffix(blk.ID, "-9") {
		t.Error(blk)
	}
	b.Event(Event{Kind: EventProduced, Block: chain.Block{Num: 7}})
	b.Event(Event{Kind: EventReceived, Block: chain.Block{Num: 6}})
	b.Event(Event{Kind: EventNotProducing, Reason: "because"})
	b.Event(Event{Kind: EventPaused})
	v, _ = b.View()
	if v.LastProduced.Num != 7 || v.LastReceived.Num != 6 || v.LastNotProducing != "because" {
		t.Errorf("%+v", *v)
	}
}

// TestMonitorLooksAtOnceAfterABlock: the pipeline's events hasten the next poll.
func TestMonitorLooksAtOnceAfterABlock(t *testing.T) {
	b := newBench(t, func(c *MonitorConfig) { c.Poll = time.Second })
	b.until("up", func(v *View) bool { return v.Running })
	b.api.set(func() { b.api.chain.grow() })
	begun := time.Now()
	for { // an event within a fifth of Poll after the last poll is one too many
		b.Event(Event{Kind: EventReceived, Block: chain.Block{Num: 4}})
		if v, _ := b.View(); v.Head.Num == 4 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if took := time.Since(begun); took > 900*time.Millisecond {
		t.Error(took)
	}
}

// TestMonitorTurnsOnlyForMoreThanABlock: controllers are not woken for each block.
func TestMonitorTurnsOnlyForMoreThanABlock(t *testing.T) {
	b := newBench(t, nil)
	b.until("all known", func(v *View) bool {
		return v.Healthy && v.PausedKnown && v.PeersKnown && v.ScheduleKnown && v.DB != DBSize{}
	})
	turned := b.Turned()
	b.api.set(func() { b.api.chain.grow() })
	b.until("the next block", func(v *View) bool { return v.Head.Num == 4 })
	select {
	case <-turned:
		t.Error("turned for a block")
	default:
	}
	b.api.set(func() { b.api.stuck = true })
	b.until("stuck", func(v *View) bool { return v.Stuck })
	select { // the view is there a moment before
	case <-turned:
	case <-time.After(5 * time.Second):
		t.Error("not turned for a stuck main thread")
	}
}

// TestMonitorSeesAStuckMainThread: get_info goes on answering 200 (FACT 12).
func TestMonitorSeesAStuckMainThread(t *testing.T) {
	b := newBench(t, nil)
	b.until("healthy", func(v *View) bool { return v.Healthy && v.PausedKnown })
	b.api.set(func() { b.api.stuck = true })
	v := b.until("stuck", func(v *View) bool { return v.Stuck })
	if v.Healthy || !v.Running || v.Reason != "the main thread does not answer" {
		t.Errorf("%+v", *v)
	}
	b.api.set(func() { b.api.stuck = false })
	b.until("healthy again", func(v *View) bool { return v.Healthy })
}

func TestMonitorSeesAStall(t *testing.T) {
	var mu sync.Mutex
	now := time.UnixMilli(chain.Slot(5000).UnixMilli())
	b := newBench(t, func(c *MonitorConfig) {
		c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	b.until("healthy", func(v *View) bool { return v.Healthy && v.PausedKnown && v.ScheduleKnown })
	pass := func(d time.Duration) { mu.Lock(); now = now.Add(d); mu.Unlock() }
	pass(time.Hour) // paused: a head that stands still is nobody's fault
	b.api.set(func() { b.api.paused = false })
	v := b.until("resumed", func(v *View) bool { return !v.Paused })
	if !v.Healthy {
		t.Errorf("%+v", *v)
	}
	pass(5 * time.Second)
	v = b.until("stalled", func(v *View) bool { return v.Stalled })
	if v.Healthy || v.Reason != "unpaused, but the head stands at #3" {
		t.Errorf("%+v", *v)
	}
}

func TestMonitorSeesAnEnd(t *testing.T) {
	var mu sync.Mutex
	st, changed := Status{State: StateRunning}, make(chan struct{})
	b := newBench(t, func(c *MonitorConfig) {
		c.Watch = func() (Status, <-chan struct{}) { mu.Lock(); defer mu.Unlock(); return st, changed }
		c.Poll = time.Hour
	})
	b.until("up", func(v *View) bool { return v.Healthy })
	set := func(s State) {
		mu.Lock()
		defer mu.Unlock()
		st = Status{State: s}
		close(changed)
		changed = make(chan struct{})
	}
	set(StateBackoff) // seen at once, not at the next poll, and whoever answers on the port
	v := b.until("down", func(v *View) bool { return !v.Running })
	if v.Healthy || v.Reason != "the node is backoff" || v.PausedKnown || v.Head.Num != 3 {
		t.Errorf("%+v", *v)
	}
	set(StateRunning)
	b.until("up again", func(v *View) bool { return v.Healthy })
	b.api.set(func() { b.api.dead = true })
	set(StateRunning)
	if v := b.until("not answering", func(v *View) bool { return !v.Running }); v.Reason != "HTTP does not answer" {
		t.Error(v.Reason)
	}
}
