package operations

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/test/box"
)

// TestAllNodesAreDown: the power fails everywhere, and what the nodes are started with then, none of them starts with. The operator mends
// it, and a rollout brings one node after another up although nobody can take production over: there is none.
func TestAllNodesAreDown(t *testing.T) {
	t.Parallel()
	b := layOut(t, drill.Options{})
	for _, m := range b.Members {
		if err := os.MkdirAll(filepath.Dir(template(m)), 0o700); err != nil {
			t.Fatal(err)
		}
		box.Write(t, template(m), "# nothing yet\n")
	}
	b.Configure(func(m *drill.Member) string { return fmt.Sprintf("config_template = %q\n", template(m)) },
		func(*drill.Member) string { return upgrades(`rollout = "manual"`) })
	b.up()
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, m := range b.Members {
		rename(t, template(m), "no-such-option-at-all = 1\n")
		_ = b.StartMember(m) // its node does not start
	}
	b.Eventually(endTime, "all managers without a node", func(ctx context.Context) error {
		o, err := b.Overview(ctx)
		if err == nil && o.Leader == "" {
			err = errors.New("nobody leads")
		}
		for _, m := range b.Members {
			if _, failed := b.NodePID(m); failed == nil {
				err = fmt.Errorf("the node of %s runs", m.ID)
			}
		}
		return err
	})
	for _, m := range b.Members {
		rename(t, template(m), "net-threads = 3\n")
	}
	b.Eventually(3*endTime, "nodes that run", func(ctx context.Context) error {
		status, text, err := b.Ask(ctx, b.Running(), http.MethodPost, "/cluster/rollout", box.Fields{})
		o, seen := b.Overview(ctx)
		if seen == nil && o.Holder() != "" {
			return nil
		}
		return fmt.Errorf("%d %s %w %w", status, text, err, seen)
	})
	b.Whole()
	if got := b.has("net-threads = 3"); len(got) != len(b.Members) {
		t.Errorf("%v run with what was mended", got)
	}
}

// TestABrokenLink: `current` of a member leads nowhere, so that its node cannot be started, nor say what it runs. An upgrade of the others
// passes it by, and one that names it mends it.
func TestABrokenLink(t *testing.T) {
	t.Parallel()
	b := layOut(t, drill.Options{}).up()
	m := b.Other(b.View().Holder())
	tag := b.otherVersion()
	link := filepath.Join(m.Home, "current")
	if err := errors.Join(b.KillManager(m), os.Remove(link), os.Symlink("versions/v9.9.9", link)); err != nil {
		t.Fatal(err)
	}
	_ = b.StartMember(m) // its node does not start
	b.Eventually(endTime, "its manager", func(ctx context.Context) error {
		_, _, err := b.Ask(ctx, m, http.MethodGet, "/cluster", nil)
		return err
	})
	var others []string
	for _, o := range b.Members {
		if o.ID != m.ID {
			others = append(others, o.ID)
		}
	}
	for _, members := range [][]string{others, {m.ID}} {
		var o api.Operation
		b.Eventually(endTime, "an upgrade", func(ctx context.Context) error {
			status, text, err := b.Ask(ctx, b.Get(others[0]), http.MethodPost, "/cluster/upgrade", box.Fields{"tag": tag, "members": members, "limit": limit})
			if err == nil && status != http.StatusAccepted {
				err = fmt.Errorf("%d %s", status, text)
			}
			return err
		})
		b.Eventually(2*endTime, "the end of the upgrade", func(context.Context) error {
			list := b.Listed("upgrade")
			if o = list[len(list)-1]; o.Ended == "" {
				return box.At(o)
			}
			return nil
		})
		if o.Outcome != "done" || len(o.Done) != len(members) {
			t.Fatalf("the upgrade of %v is %s: %s", members, o.Outcome, box.Told(o))
		}
	}
	b.Whole()
	b.all(tag)
	b.Judge(true)
}
