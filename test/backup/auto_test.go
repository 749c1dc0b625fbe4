package backup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/fsm"
	"roundtable/test/box"
)

// TestAutoRestore: the state of a standby's node is dirty after a SIGKILL, and there is no replaying it, since it does not have all blocks. The
// cluster restores it from the newest backup, as an operation that the member asked for. Killed again within the hour it is not restored a
// second time, but by an operator; and one that does not start for another reason is never.
func TestAutoRestore(t *testing.T) {
	t.Parallel()
	b := layOut(t, drill.Options{}, inFolder(t))
	b.Configure(nil, func(*drill.Member) string { return "[bootstrap]\nlatest = true\n" })
	b.up()
	whole := b.backup(fsm.CopiesData, nil)
	b.backup(fsm.CopiesSnapshot, nil)
	m := b.standby()
	b.spoil(m)
	var o api.Operation
	b.Eventually(endTime, "a restore that nobody asked for", func(context.Context) error {
		list := b.Listed(fsm.KindRestore)
		if len(list) == 0 {
			return errors.New("there is none")
		}
		if o = list[0]; o.Ended == "" {
			return box.At(o)
		}
		return nil
	})
	if !o.Auto || o.Member != m.ID || o.Outcome != "done" {
		t.Fatalf("the restore of %s is %s (by itself: %v): %s", o.Member, o.Outcome, o.Auto, box.Told(o))
	}
	b.Whole()
	t.Run("not twice within an hour", func(t *testing.T) {
		b := b.in(t)
		b.spoil(m)
		b.staysDown(m, 1)
		b.restore(whole.ID, m.ID) // an operator may
		b.Whole()
	})
	t.Run("not for a mistake in the configuration", func(t *testing.T) {
		b := b.in(t)
		m := b.standby(m.ID)
		file := filepath.Join(m.Home, "config.toml")
		good := box.Read(t, file)
		b.stop(m)
		box.Write(t, file, strings.Replace(good, "\nargs = [", "\nargs = [\"--no-such-option-at-all\", ", 1))
		_ = b.StartMember(m) // its node does not start
		b.staysDown(m, 2)
		if err := b.KillMember(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		box.Write(t, file, good)
		if err := b.StartMember(m); err != nil {
			t.Fatal(err)
		}
		b.Whole()
	})
	b.Judge(false)
}

// stop ends a member in order.
func (b *sandbox) stop(m *drill.Member) {
	b.T.Helper()
	ctx, cancel := context.WithTimeout(b.T.Context(), 30*time.Second)
	defer cancel()
	if err := b.StopManager(ctx, m); err != nil {
		b.T.Fatal(err)
	}
}

// spoil lets a member's node begin with a chain snapshot, so that it has no old blocks, and kills it: its state is dirty then, and nodeos
// cannot replay it.
func (b *sandbox) spoil(m *drill.Member) {
	b.T.Helper()
	if err := b.Remember(b.T.Context()); err != nil {
		b.T.Fatal(err)
	}
	b.stop(m)
	if err := os.RemoveAll(data(m)); err != nil {
		b.T.Fatal(err)
	}
	if err := b.StartMember(m); err != nil {
		b.T.Fatal(err)
	}
	b.Whole()
	if first := firstOf(b.T, m); first <= 2 {
		b.T.Fatalf("its node began with block %d, and not with a snapshot", first)
	}
	if err := b.KillNode(b.T.Context(), m); err != nil {
		b.T.Fatal(err)
	}
}

// staysDown fails the test where a member's node comes up in the next seconds, or somebody begins a restore: there were so many before.
func (b *sandbox) staysDown(m *drill.Member, restores int) {
	b.T.Helper()
	b.Seen(m.ID+" is fit", func(o drill.Overview) bool {
		for _, one := range o.Members {
			if one.ID == m.ID {
				return !one.Fit
			}
		}
		return false
	})
	for end := time.Now().Add(6 * time.Second); time.Now().Before(end); pause(b.T.Context(), 500*time.Millisecond) {
		if list := b.Listed(fsm.KindRestore); len(list) != restores {
			b.T.Fatalf("there are %d restores, and not %d: %s", len(list), restores, box.Told(list[len(list)-1]))
		}
		if head, err := headOf(b.T.Context(), m.NodeHTTP()); err == nil {
			b.T.Fatalf("its node runs, at block %d", head)
		}
	}
}
