package test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"roundtable/drill"
	"roundtable/manager"
)

// TestFounderThatLostItsDisk kills the founder while it holds, and takes from its disk all of the raft folder, as a volume does
// that is lost, or only the log. It must not found a second cluster beside the others, which go on: it ends, and says what to
// do. With its permission back, as a volume has that is laid out again, it joins the others. No slot is signed twice.
func TestFounderThatLostItsDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes")
	}
	for name, lost := range map[string][]string{
		"volume": {"raft", "configured.json"},
		"log":    {"raft/raft.db", "raft/snapshots"}, // gossip.json is left
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, drill.Options{})
			m1 := b.member("m1")
			if _, err := os.Stat(filepath.Join(m1.Home, "found")); !os.IsNotExist(err) {
				t.Errorf("the permission to found is left: %v", err)
			}
			if b.overview().Holder() != "m1" {
				if err := b.Handoff(t.Context(), m1, "m1"); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.KillMember(t.Context(), m1); err != nil {
				t.Fatal(err)
			}
			moved := func(ctx context.Context) error {
				o, err := b.Overview(ctx)
				if err == nil && (o.Holder() == "" || o.Holder() == "m1") {
					err = errors.New("held by " + o.Holder())
				}
				return err
			}
			eventually(t, 20*time.Second, "another one produces", moved)
			for _, name := range lost {
				if err := os.RemoveAll(filepath.Join(m1.Home, name)); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.StartMember(m1); err != nil {
				t.Fatal(err)
			}
			b.ended(m1, 10*time.Second, "name the other members' gossip addresses in manager.join")
			eventually(t, 5*time.Second, "the others go on", moved)

			b.joinsAt(m1, b.others("m1")...)
			if err := manager.PermitFounding(m1.Home); err != nil {
				t.Fatal(err)
			}
			if err := b.StartMember(m1); err != nil {
				t.Fatal(err)
			}
			b.settle()
			eventually(t, 10*time.Second, "the permission is gone", func(context.Context) error {
				if _, err := os.Stat(filepath.Join(m1.Home, "found")); !os.IsNotExist(err) {
					return errors.New("it is there")
				}
				return nil
			})
			if err := b.Handoff(t.Context(), b.member("m2"), "m1"); err != nil {
				t.Error(err)
			}
			b.doubles()
		})
	}
}
