package node

import (
	"strings"
	"sync"
	"testing"
	"time"

	"roundtable/chain"
)

// TestSyncing weighs what a head tells: its own age when it came, and how long nothing followed it.
func TestSyncing(t *testing.T) {
	head := chain.Slot(100_000)
	at := time.UnixMilli(head.UnixMilli())
	for _, c := range []struct {
		name      string
		schedule  []string
		late, ago time.Duration // how old the block was when it came, and how long ago that is
		want      bool
	}{
		{"a live chain", []string{"bp", "other"}, 300 * time.Millisecond, 0, false},
		{"others missed three windows", []string{"bp", "other"}, 300 * time.Millisecond, 18 * time.Second, false},
		{"old blocks come in", []string{"bp", "other"}, 3 * time.Hour, 100 * time.Millisecond, true},
		{"an old head, looking for peers", []string{"bp", "other"}, 3 * time.Hour, 19 * time.Second, true},
		{"an old head, and nothing follows it: the chain stands", []string{"bp", "other"}, 3 * time.Hour, 21 * time.Second, false},
		{"old, but all slots are ours", []string{"bp"}, 3 * time.Hour, 0, false},
		{"old, and the schedule is not known yet", nil, 3 * time.Hour, 0, true},
		{"a block that is one window late", []string{"bp", "other"}, 7 * time.Second, 0, true},
	} {
		v := &View{Head: chain.Block{Num: 9, Slot: head}, HeadAt: at.Add(c.late)}
		for _, name := range c.schedule {
			v.Schedule.Producers = append(v.Schedule.Producers, Producer{Name: name})
		}
		if got := v.syncing([]string{"bp"}, v.HeadAt.Add(c.ago)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if (&View{}).syncing([]string{"bp"}, at) {
		t.Error("a node without a head counts as syncing")
	}
}

// TestMonitorSeesASync starts a node on an old head of a chain that others produce: it is not healthy until its blocks are
// news, or until nothing came for long enough.
func TestMonitorSeesASync(t *testing.T) {
	var mu sync.Mutex
	now := time.UnixMilli(chain.Slot(5000).UnixMilli()).Add(time.Hour)
	b := newBench(t, func(c *MonitorConfig) {
		c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
		c.Producers = []string{"bp"}
	})
	v := b.until("syncing", func(v *View) bool { return v.Syncing && v.ScheduleKnown })
	if v.Healthy || !strings.HasPrefix(v.Reason, "it is syncing: its newest block is of 2000-01-01 ") {
		t.Errorf("%+v", *v)
	}
	mu.Lock()
	now = now.Add(syncSilent)
	mu.Unlock()
	b.until("given up on", func(v *View) bool { return v.Healthy })
	b.api.set(func() { b.api.chain.grow() })
	b.until("syncing again", func(v *View) bool { return v.Syncing && v.Head.Num == 4 })
	mu.Lock()
	now = time.UnixMilli(v.Head.Slot.UnixMilli()).Add(time.Second)
	mu.Unlock()
	b.api.set(func() { b.api.chain.grow() })
	b.until("news", func(v *View) bool { return v.Healthy && v.Head.Num == 5 })
}
