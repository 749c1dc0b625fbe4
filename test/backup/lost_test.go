package backup

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/fsm"
	"roundtable/manager"
	"roundtable/test/box"
)

// TestLostCatalogue: the cluster is founded anew, with the nodes that it had and a log without a memory. One scan of the repository, and the
// catalogue has what it had; a member is restored from it.
func TestLostCatalogue(t *testing.T) {
	t.Parallel()
	d := onServer(t)
	b := layOut(t, drill.Options{}, d).up()
	had := map[string]api.Backup{}
	for _, kind := range kinds {
		one := b.backup(kind, nil)
		had[one.ID] = one
	}
	stop, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := b.Close(stop); err != nil {
		t.Fatal(err)
	}
	for _, m := range b.Members {
		if err := os.RemoveAll(filepath.Join(m.Home, "raft")); err != nil {
			t.Fatal(err)
		}
	}
	if err := manager.PermitFounding(b.Members[0].Home); err != nil {
		t.Fatal(err)
	}
	b.up()
	if list := b.catalogue(""); len(list) > 0 {
		t.Fatalf("the new cluster knows %d backups", len(list))
	}
	b.sweep() // what nobody knows stays
	o := b.Done("/cluster/backups/scan", box.Fields{"limit": limit}, endTime)
	t.Log(box.Told(o))
	list := b.catalogue("")
	for _, one := range list {
		was, ok := had[one.ID]
		if !ok || one.State != fsm.BackupDone || one.Kind != was.Kind || one.Head != was.Head || one.LIB != was.LIB || one.Manifest != was.Manifest ||
			one.ChainID != was.ChainID || one.NodeVersion != was.NodeVersion || one.Size != was.Size || one.Stored != was.Stored || one.Files != was.Files || one.Member != was.Member {
			t.Errorf("%s is back as %+v, it was %+v", one.ID, one, was)
		}
	}
	if len(list) != len(had) {
		t.Errorf("%d backups are back, there were %d", len(list), len(had))
	}
	b.proved(true)
	for _, one := range list {
		b.restore(one.ID, b.standby().ID)
		b.Whole()
	}
	b.backup(fsm.CopiesData, nil)
}

// TestBootstrap: a member that is new, with a node that has nothing, begins with the newest chain snapshot of the cluster's repository, and
// then takes part.
func TestBootstrap(t *testing.T) {
	t.Parallel()
	d := inFolder(t)
	b := layOut(t, drill.Options{Managers: 4}, d)
	b.Configure(nil, func(*drill.Member) string { return "[bootstrap]\nlatest = true\n" })
	m := b.Members[3]
	b.Members = b.Members[:3]
	b.up()
	b.backup(fsm.CopiesSnapshot, nil)
	newest := b.backup(fsm.CopiesSnapshot, nil)
	b.Members = append(b.Members, m)
	if err := b.StartMember(m); err != nil {
		t.Fatal(err)
	}
	b.Whole()
	if first := firstOf(t, m); first <= 2 || first > newest.Head+1 {
		t.Errorf("its node's blocks begin with %d; the newest snapshot is of block %d", first, newest.Head)
	}
	if err := b.Handoff(t.Context(), b.Members[0], m.ID); err != nil {
		t.Error(err)
	}
	b.Whole()
	b.Judge(false)
}

// firstOf is the first block that a member's node has.
func firstOf(t *testing.T, m *drill.Member) uint32 {
	t.Helper()
	i, err := infoOf(t.Context(), m.NodeHTTP())
	if err != nil {
		t.Fatal(err)
	}
	return i.First
}
