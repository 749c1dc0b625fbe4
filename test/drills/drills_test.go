// Package drills runs a short set of drills on real processes: each scenario once, and what the usual ways of doing the
// job make of a fault that ours withstands. The long set is `make drill`.
package drills

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"roundtable/drill"
	"roundtable/test/binaries"
)

// built is the folder of the programs under drill.
var built string

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil { // drills mostly wait
		panic(err)
	}
	os.Exit(binaries.Main(m, &built, "cmd/roundtable", "cmd/simnodeos", "test/baseline/cmd/baseline"))
}

// do runs a scenario and shows its table.
func do(t *testing.T, p drill.Plan) drill.Report {
	t.Helper()
	dir, err := os.MkdirTemp("", "rt-drill-")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	p.Sandbox = drill.Options{Dir: dir, Roundtable: filepath.Join(built, "roundtable"), Nodeos: filepath.Join(built, "simnodeos")}
	p.Progress = &log
	r, err := drill.Run(context.Background(), p)
	r.Write(&log)
	t.Logf("seed %d\n%s", p.Seed, log.String())
	if err != nil {
		t.Fatal(err)
	}
	if r.OK() && !t.Failed() {
		_ = os.RemoveAll(dir)
	} else {
		t.Logf("logs and ledgers are left in %s", dir)
	}
	return r
}

// TestShort does every scenario once: what must hold whatever happens is that no slot is signed
// twice and that the cluster recovers. What a fault costs is measured by `make drill` on a quiet machine.
func TestShort(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes")
	}
	for _, name := range drill.Scenarios() {
		runs := 1
		switch name {
		case "mix":
			runs = 3
		case "upgrade": // there and back
			runs = 2
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if r := do(t, drill.Plan{Scenario: name, Runs: runs, Seed: 1, Longest: 5 * time.Second}); !r.OK() {
				t.Errorf("%s did not pass", name)
			}
		})
	}
}

// TestTheUsualWayDoubleSigns shows that the drill is strong enough: a manager that is frozen while its node goes on is
// replaced, and now two nodes sign, where `if raft.State() == Leader` is all that stands between.
func TestTheUsualWayDoubleSigns(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes")
	}
	t.Parallel()
	r := do(t, drill.Plan{Scenario: "freeze-manager", Runs: 1, Seed: 1, Length: 5 * time.Second, Baselines: true})
	if !r.OK() {
		t.Error("ours did not pass")
	}
	for _, b := range r.Baselines {
		if b.Name == drill.LeaderSigns && b.Doubled == 0 {
			t.Error("leader signs did not double-sign: the drill is too weak")
		}
	}
}
