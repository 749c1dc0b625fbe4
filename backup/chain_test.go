package backup_test

import (
	"errors"
	"testing"

	"roundtable/backup"
	"roundtable/backup/backuptest"
)

// TestAnotherChain: what another chain's cluster keeps its backups in takes none of this one, also from who knows none of those.
func TestAnotherChain(t *testing.T) {
	store := &backuptest.Memory{}
	r := open(t, store, backup.Options{Create: true})
	dir := tiny(t)
	done(t, r, "one", backup.Source{Dir: dir, Meta: meta("a")})
	other := meta("a")
	other.ChainID = "beef"
	for _, bases := range [][]string{nil, {"one"}} {
		if _, err := r.Backup(t.Context(), "two", backup.Source{Dir: dir, Meta: other, Bases: bases}, nil); !errors.Is(err, backup.ErrChain) {
			t.Errorf("with bases %v: %v", bases, err)
		}
	}
	done(t, r, "three", backup.Source{Dir: dir, Meta: meta("b")})
}
