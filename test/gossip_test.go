package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"roundtable/chain"
	"roundtable/cluster/health"
	"roundtable/drill"
)

// haunting is somebody who has the key of gossip (here there is none) and is no member. It has no streams.
type haunting struct{ meta []byte }

func (h haunting) NodeMeta(int) []byte           { return h.meta }
func (haunting) NotifyMsg([]byte)                {}
func (haunting) GetBroadcasts(int, int) [][]byte { return nil }
func (haunting) LocalState(bool) []byte          { return nil }
func (haunting) MergeRemoteState([]byte, bool)   {}

// TestStrangerInGossip: who can gossip says that the cluster was recovered without its members, and, in its own name and in the
// holder's, that other blocks were signed than those on the chain. It is alarms; no manager ends, no gate is closed.
func TestStrangerInGossip(t *testing.T) {
	t.Parallel()
	b := start(t, drill.Options{})
	config, err := os.ReadFile(filepath.Join(b.member("m1").Home, "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	address := string(regexp.MustCompile(`(?m)^gossip = "(.*)"$`).FindSubmatch(config)[1])
	join := func(name string, meta []byte) *memberlist.Memberlist {
		mc := memberlist.DefaultLANConfig()
		mc.Name, mc.Label, mc.BindAddr, mc.BindPort, mc.AdvertisePort = name, "sandbox", "127.0.0.1", 0, 0
		mc.Logger, mc.Delegate = log.New(io.Discard, "", 0), haunting{meta}
		list, err := memberlist.Create(mc)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = list.Shutdown() })
		if _, err := list.Join([]string{address}); err != nil {
			t.Fatal(err)
		}
		return list
	}
	holder := b.overview().Holder()
	list := join("ghost", nil)
	var met struct {
		Group       string `json:"g"`
		Incarnation string `json:"i"`
	}
	for _, n := range list.Members() {
		if n.Name == holder {
			if err := json.Unmarshal(n.Meta, &met); err != nil {
				t.Fatal(err)
			}
		}
	}
	origin, _, _ := strings.Cut(met.Group, "/")
	claim, err := json.Marshal(map[string]string{"r": "127.0.0.1:1", "g": "00.99." + origin + "/claimer"})
	if err != nil {
		t.Fatal(err)
	}
	join("claimer", claim)
	forge := func() {
		for _, name := range []string{"ghost", holder} {
			slot := chain.Slot(drill.SlotNow())
			r := health.Report{
				Member: name, Incarnation: met.Incarnation, At: time.Now().UnixMilli(), Node: "running", Fit: true,
				Head: chain.Block{Slot: slot, Num: 1}, Signed: chain.Block{Slot: slot - 1, Num: 1},
			}
			msg, err := json.Marshal(map[string]any{"id": name, "g": met.Group, "x": 1, "r": r})
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range list.Members() {
				if strings.HasPrefix(n.Name, "m") {
					_ = list.SendBestEffort(n, msg)
				}
			}
		}
	}
	eventually(t, 30*time.Second, "the alarms", func(ctx context.Context) error {
		forge()
		a, err := ask(ctx, b.Members[0], http.MethodGet, "/cluster/history", "")
		if err != nil {
			return err
		}
		for _, want := range []string{"alarm.superseded", "by gossip member " + holder} {
			if !strings.Contains(string(a.body), want) {
				return fmt.Errorf("no %q: %s", want, a.body)
			}
		}
		return nil
	})
	until := drill.SlotNow() + 12
	eventually(t, 30*time.Second, "a dozen slots more", func(ctx context.Context) error {
		forge()
		for _, v := range b.overview().Members {
			if v.Sealed != "" || !b.member(v.ID).Running() {
				t.Fatalf("%s: sealed %q, running %v", v.ID, v.Sealed, b.member(v.ID).Running())
			}
		}
		if now := drill.SlotNow(); now < until {
			return fmt.Errorf("slot %d of %d", now, until)
		}
		return b.flows(ctx, b.Members[0])
	})
}
