package backup_test

import (
	"path/filepath"
	"slices"
	"testing"

	"roundtable/backup"
	"roundtable/backup/backuptest"
)

// TestThereAndBack stores a node, changes it, stores it again, and restores both.
func TestThereAndBack(t *testing.T) {
	modes(t, func(t *testing.T, o backup.Options) {
		dir := node(t, 1)
		store := &backuptest.Memory{}
		r := open(t, store, o)
		src := backup.Source{Dir: dir, Meta: meta("a")}
		first := done(t, r, "one", src)
		before := tree(t, dir)
		files := 0
		for _, f := range before {
			if f.Mode.IsRegular() {
				files++
			}
		}
		if first.Files != files || first.Manifest == "" || first.Bases != nil {
			t.Errorf("%+v of %d", first, len(before))
		}
		equal(t, before, restored(t, r, "one"))

		appendTo(t, filepath.Join(dir, "blocks/blocks.log"), noise(77, 300<<10))
		sparse(t, filepath.Join(dir, "state/shared_memory.bin"), 8<<20, map[int64][]byte{3 << 20: noise(78, 4096)})
		src.Bases = []string{"one"}
		second := done(t, r, "two", src)
		after := tree(t, dir)
		if !slices.Equal(second.Bases, []string{"one"}) || second.Stored > 1<<20 {
			t.Errorf("%+v", second)
		}
		two := restored(t, r, "two")
		equal(t, after, two)
		equal(t, before, restored(t, r, "one"))
		if was, is := onDisk(t, filepath.Join(dir, "state/shared_memory.bin")), onDisk(t, filepath.Join(two, "state/shared_memory.bin")); is > was {
			t.Errorf("the restored state takes %d bytes, it took %d", is, was)
		}
		for _, id := range []string{"one", "two"} {
			if err := r.Verify(t.Context(), id, nil); err != nil {
				t.Error(err)
			}
		}
		all, err := r.List(t.Context())
		if err != nil || len(all) != 2 || all[0].ID != "one" || all[1].Stored != second.Stored {
			t.Errorf("%+v %v", all, err)
		}
	})
}
