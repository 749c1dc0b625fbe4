package operations

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"roundtable/drill"
	"roundtable/test/box"
)

// waits returns once an operation is staged and waits for the chain; no node was stopped until then.
func (b *sandbox) waits(id string, nodes map[string]int) {
	b.T.Helper()
	b.Eventually(endTime, "the upgrade waiting for the chain", func(ctx context.Context) error {
		o, err := b.Stands(ctx, id)
		switch {
		case err != nil:
			return err
		case o.Ended != "":
			b.T.Fatalf("it has ended: %s %s", o.Outcome, o.Reason)
		case o.Step != "await trigger":
			return errors.New(o.Message)
		}
		return nil
	})
	if got := box.Changed(nodes, b.Nodes()); len(got) > 0 {
		b.T.Errorf("%v were restarted before", got)
	}
}

// TestTheChainSaysWhen: an upgrade that is staged waits for a block, for a protocol feature, or for a row of a table, stops no node
// before, keeps no other operation from being done meanwhile, and then goes through. Nothing is missed.
func TestTheChainSaysWhen(t *testing.T) {
	t.Parallel()
	b := layOut(t, drill.Options{})
	features, table := filepath.Join(b.Dir, "features"), filepath.Join(b.Dir, "table")
	b.Argue(func(*drill.Member) []string { return []string{"--sim-feature-file", features, "--sim-table", table} })
	const row = `{"code":"vote","scope":"vote","table":"version","key":"1","row":{"id":1,"tag":"%s"}}` + "\n"
	box.Write(t, table, fmt.Sprintf(row, "none"))
	b.up()
	for _, c := range []struct {
		name    string
		trigger box.Fields
		pull    func(t *testing.T)
		says    string
	}{
		{name: "a protocol feature", trigger: box.Fields{"feature": "BLS_PRIMITIVES2"}, pull: func(t *testing.T) { box.Write(t, features, "BLS_PRIMITIVES2\n") }, says: "BLS_PRIMITIVES2"},
		{name: "a row", trigger: box.Fields{"row": box.Fields{"code": "vote", "scope": "vote", "table": "version", "key": "1", "field": "tag", "value": "next"}},
			pull: func(t *testing.T) { box.Write(t, table, fmt.Sprintf(row, "next")) }, says: "tag"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := b.in(t)
			nodes, tag := b.Nodes(), b.otherVersion()
			body := box.Fields{"tag": tag, "limit": limit}
			for k, v := range c.trigger {
				body[k] = v
			}
			id := b.Order("/cluster/upgrade", body)
			b.waits(id, nodes)
			standby := b.Other(b.View().Holder()).ID
			b.Done("/cluster/restart", box.Fields{"member": standby, "limit": limit}, endTime)
			if got := box.Changed(nodes, b.Nodes()); !slices.Equal(got, []string{standby}) {
				t.Errorf("%v were restarted", got)
			}
			c.pull(t)
			o := b.End(id, 2*endTime)
			if o.Outcome != "done" || !strings.Contains(box.Told(o), c.says) {
				t.Errorf("it is %s: %s", o.Outcome, box.Told(o))
			}
			b.all(tag)
		})
	}
	t.Run("a block", func(t *testing.T) {
		b := b.in(t)
		nodes, tag, at := b.Nodes(), b.otherVersion(), b.Head()+16
		id := b.Order("/cluster/upgrade", box.Fields{"tag": tag, "at_block": at, "limit": limit})
		b.waits(id, nodes)
		for b.Head() < at-2 {
			if got := box.Changed(nodes, b.Nodes()); len(got) > 0 {
				t.Fatalf("%v were restarted at block %d, before block %d", got, b.Head(), at)
			}
		}
		if o := b.End(id, 2*endTime); o.Outcome != "done" {
			t.Errorf("it is %s: %s", o.Outcome, box.Told(o))
		}
		b.all(tag)
	})
	b.Whole()
	b.Judge(false)
}

// all fails where a node is of another version.
func (b *sandbox) all(tag string) {
	b.T.Helper()
	for id, is := range b.tags() {
		if err := b.Runs(b.T.Context(), b.Get(id), tag); is != tag || err != nil {
			b.T.Errorf("%s has %s and not %s: %v", id, is, tag, err)
		}
	}
}

// TestHardFork: all nodes are switched at one block. On a chain where every slot is ours production stops there, and goes on with
// the new version, also on a member that has it already; no slot is signed twice. What that costs is counted, not hidden.
func TestHardFork(t *testing.T) {
	t.Parallel()
	b := layOut(t, drill.Options{}).up()
	tag := b.otherVersion()
	b.Done("/cluster/upgrade", box.Fields{"tag": tag, "members": []string{b.Other(b.View().Holder()).ID}}, endTime)
	at := b.Head() + 40
	o := b.End(b.Order("/cluster/upgrade", box.Fields{"tag": tag, "at_block": at, "hard_fork": true, "limit": limit}), 2*endTime)
	if o.Outcome != "done" || len(o.Done) != len(b.Members) {
		t.Fatalf("it is %s, through: %v: %s", o.Outcome, o.Done, box.Told(o))
	}
	b.Whole()
	b.all(tag)
	r := b.Judge(true)
	chain, err := b.Chain(t.Context(), at-4)
	if err != nil {
		t.Fatal(err)
	}
	var lost uint64
	for i, c := range chain[1:] {
		gap := c.Slot - chain[i].Slot - 1
		if gap > 0 && chain[i].Num != at {
			t.Errorf("%d slots are missing behind block %d, and the fork was at block %d", gap, chain[i].Num, at)
		}
		lost += gap
	}
	t.Logf("the hard fork at block %d took %d slots (%v); the checker: %d of %d missed, %d signed twice", at, lost, time.Duration(lost)*500*time.Millisecond, r.Missed.Total, r.SlotsDue, r.Doubled)
	if lost == 0 || lost > 40 {
		t.Errorf("%d slots were lost", lost)
	}
	if lost != uint64(r.Missed.Total) {
		t.Errorf("the chain lacks %d slots, the checker says %d", lost, r.Missed.Total)
	}
}
