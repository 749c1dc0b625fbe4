package drill

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBaselineView(t *testing.T) {
	up := func(leader string, holder, paused bool, num uint32) baselineStatus {
		return baselineStatus{Leader: leader, Holder: holder, Paused: paused, NodeUp: true, HeadNum: num, HeadSlot: uint64(num) + 100}
	}
	for _, c := range []struct {
		name           string
		kind           string
		said           map[string]baselineStatus
		holder, leader string
	}{
		{"all well", LeaderSigns, map[string]baselineStatus{"m1": up("m1", true, false, 9), "m2": up("m1", false, true, 8)}, "m1", "m1"},
		{"two say that they produce", LeaderSigns, map[string]baselineStatus{"m1": up("m1", true, false, 9), "m2": up("m2", true, false, 8)}, "", ""},
		{"elected, and its node still paused", LeaderSigns, map[string]baselineStatus{"m1": up("m1", true, true, 9), "m2": up("m1", false, true, 8)}, "", "m1"},
		{"one that is cut off names an old leader", LeaderSigns, map[string]baselineStatus{"m1": up("m1", true, false, 9), "m2": up("m1", false, true, 8), "m3": up("m3", false, true, 5)}, "m1", "m1"},
		{"VRRP has no raft leader", Keepalived, map[string]baselineStatus{"m1": up("m1", true, false, 9)}, "m1", ""},
	} {
		v := baseline{c.kind}.view(c.said)
		heads := map[string]uint64{}
		for id, s := range c.said {
			heads[id] = s.HeadSlot
		}
		if v.Holder != c.holder || v.Leader != c.leader || v.HeadNum != 9 || !maps.Equal(v.Heads, heads) {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}

func TestBaselineRefusals(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "roundtable")
	if err := os.WriteFile(program, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]string{"haproxy": "leader and keepalived", LeaderSigns: "make build"} {
		_, err := NewSandbox(Options{Dir: filepath.Join(dir, kind), Roundtable: program, Nodeos: program, Baseline: kind})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v does not speak of %q", kind, err, want)
		}
	}
}
