package cluster

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
)

// TestLibrariesLines: what raft and memberlist say comes as lines of ours: a complaint once a minute, the rest for
// debugging, under keys that hide none of those that stand on every line.
func TestLibrariesLines(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	raft := raftLogger(log.With("part", "raft"))
	raft.Info("entering follower state", "leader-address", "")
	for range 3 {
		raft.Error("failed to contact", "server-id", "m2", "time", 5, "backoff time", 1, "error", hclog.Fmt("%d refused", 2))
	}
	gossipLogger(log.With("part", "gossip")).Print("[WARN] memberlist: a complaint")
	var lines []map[string]any
	for line := range bytes.Lines(out.Bytes()) {
		var l map[string]any
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatal(err)
		}
		delete(l, slog.TimeKey)
		lines = append(lines, l)
	}
	complaint := func(level string) map[string]any {
		return map[string]any{"level": level, "msg": "failed to contact", "part": "raft", "server_id": "m2", "raft_time": 5.0, "backoff_time": 1.0, "err": "2 refused"}
	}
	want := []map[string]any{
		{"level": "DEBUG", "msg": "entering follower state", "part": "raft", "leader_address": ""},
		complaint("INFO"), complaint("DEBUG"), complaint("DEBUG"),
		{"level": "INFO", "msg": "a complaint", "part": "gossip"},
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}
