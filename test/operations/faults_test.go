package operations

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"roundtable/drill"
	"roundtable/test/box"
)

// upgrades is a section of config.toml.
func upgrades(lines ...string) string { return "[upgrade]\n" + strings.Join(lines, "\n") + "\n" }

// TestWhatFailsBeforeAnythingStops has upgrades to versions that are not there, or are not what they should be: each fails with the
// reason, no node is stopped for it, and the next operation can begin.
func TestWhatFailsBeforeAnythingStops(t *testing.T) {
	t.Parallel()
	const small = 256 << 10 // bytes that a disk has
	s := newShelf(t)
	b := layOut(t, drill.Options{})
	dir := t.TempDir()
	allowed := filepath.Join(dir, "allowed")
	hook := filepath.Join(dir, "hook")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\ntest -e "+allowed+" && exit 0\necho the backup was refused\nexit 3\n"), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	b.Configure(nil, func(*drill.Member) string {
		return upgrades("auto_install = true", fmt.Sprintf("source = %q", s.source()), fmt.Sprintf("hook = %q", hook))
	})
	root := os.Geteuid() == 0
	if root {
		box.Mount(t, filepath.Join(b.Members[1].Home, "downloads"), small)
	}
	// What is on the shelf.
	plain := func(tag string) []byte { return archive(t, entry{"nodeos", good(tag)}) }
	s.asset("v2.0.1", plain("v2.0.1"))
	s.put("/v2.0.2/nodeos.zip", plain("v2.0.2"))
	s.put("/v2.0.2/nodeos.zip.sha256", []byte(sum([]byte("another file"))+"  nodeos.zip\n"))
	s.put("/v2.0.3/nodeos.zip", plain("v2.0.3"))
	s.asset("v2.0.4", archive(t, entry{"nodeos", good("v2.0.4")}, entry{"../../../escaped", "x"}))
	s.asset("v2.0.5", plain("v9.0.0"))
	s.asset("v2.0.6", archive(t, entry{"nodeos", good("v2.0.6")}, entry{"lib", strings.Repeat("0123456789abcdef", small/16)}))
	s.asset("v2.0.7", archive(t, entry{"README", "no program"}))
	s.asset("v2.0.8", []byte("this is no archive at all, it is a page that says: not found"))
	b.up()

	for _, c := range []struct {
		name   string
		body   box.Fields
		reason []string // all of them
		step   string
		root   bool
	}{
		{name: "an asset that is not there", body: box.Fields{"tag": "v2.0.0"}, reason: []string{"404", "v2.0.0/nodeos.zip"}},
		{name: "another checksum than the operator says", body: box.Fields{"tag": "v2.0.1", "sha256": sum([]byte("x"))}, reason: []string{"SHA-256", sum([]byte("x"))}},
		{name: "another checksum than the one beside it", body: box.Fields{"tag": "v2.0.2"}, reason: []string{"SHA-256", sum([]byte("another file"))}},
		{name: "no checksum", body: box.Fields{"tag": "v2.0.3"}, reason: []string{"no SHA-256 of", "v2.0.3/nodeos.zip"}},
		{name: "an archive that leaves its folder", body: box.Fields{"tag": "v2.0.4"}, reason: []string{"../../../escaped"}},
		{name: "a version that lies", body: box.Fields{"tag": "v2.0.5"}, reason: []string{"v2.0.5", "v9.0.0"}},
		{name: "a full disk", body: box.Fields{"tag": "v2.0.6"}, reason: []string{b.Members[1].ID, "room"}, root: true},
		{name: "an archive without nodeos", body: box.Fields{"tag": "v2.0.7"}, reason: []string{"nodeos"}},
		{name: "what is no archive", body: box.Fields{"tag": "v2.0.8"}, reason: []string{"archive"}},
		{name: "a hook that fails", body: box.Fields{"tag": next}, reason: []string{"the backup was refused", "exit code 3"}, step: "switch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root && !root {
				t.Skip("a small disk is mounted by root")
			}
			b := b.in(t)
			nodes, tags := b.Nodes(), b.tags()
			o := b.End(b.Order("/cluster/upgrade", c.body), endTime)
			text := box.Told(o)
			if o.Outcome != "failed" {
				t.Errorf("it is %s: %s", o.Outcome, text)
			}
			for _, want := range c.reason {
				if !strings.Contains(text, want) {
					t.Errorf("the reason does not say %q: %s", want, text)
				}
			}
			if now := b.Nodes(); !box.Equal(nodes, now) {
				t.Errorf("nodes were stopped: pids %v became %v", nodes, now)
			}
			if now := b.tags(); !box.Equal(tags, now) {
				t.Errorf("versions were switched: %v became %v", tags, now)
			}
			t.Log(text)
		})
	}
	if found, err := filepath.Glob(filepath.Join(b.Dir, "*", "escaped")); err != nil || len(found) > 0 {
		t.Errorf("the archive left its folder: %v %v", found, err)
	}
	// With nothing wrong it goes through, fetched from the shelf.
	box.Write(t, allowed, "")
	o := b.Done("/cluster/upgrade", box.Fields{"tag": "v2.0.1"}, 2*endTime)
	if text := box.Told(o); !strings.Contains(text, sum(plain("v2.0.1"))) {
		t.Errorf("the checksum is not shown: %s", text)
	}
	for id, tag := range b.tags() {
		if err := b.Runs(t.Context(), b.Get(id), "v2.0.1"); tag != "v2.0.1" || err != nil {
			t.Errorf("%s has %s: %v", id, tag, err)
		}
	}
	b.Whole()
	b.Judge(false)
}

// TestAVersionThatFailsIsRolledBack has upgrades to versions that do not stay well: the member that was switched first runs again
// what it ran before, the second one is not touched, the operation says why, and production never stopped.
func TestAVersionThatFailsIsRolledBack(t *testing.T) {
	t.Parallel()
	b := layOut(t, drill.Options{})
	cases := []struct {
		name   string
		tag    string
		script func(tag string) string
		limit  string
		reason []string
	}{
		{name: "a binary that exits at once", tag: "v3.0.1", limit: "20s", reason: []string{"libfoo.so.7", "127"}, script: exits},
		{name: "a binary that never syncs", tag: "v3.0.2", limit: "8s", reason: []string{"behind"}, script: deaf},
		{name: "a binary that dies after its start", tag: "v3.0.3", limit: "8s", reason: []string{"254"}, script: dies},
	}
	for _, c := range cases {
		b.layAll(c.tag, func(*drill.Member) string { return c.script(c.tag) })
	}
	b.up()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := b.in(t)
			nodes, tags, holder := b.Nodes(), b.tags(), b.View().Holder()
			o := b.End(b.Order("/cluster/upgrade", box.Fields{"tag": c.tag, "limit": c.limit}), endTime)
			text := box.Told(o)
			if o.Outcome != "failed" || len(o.Done) > 0 || len(o.Undone) != 1 {
				t.Fatalf("it is %s, through: %v, rolled back: %v: %s", o.Outcome, o.Done, o.Undone, text)
			}
			for _, want := range append(c.reason, o.Undone[0]) {
				if !strings.Contains(text, want) {
					t.Errorf("the reason does not say %q: %s", want, text)
				}
			}
			b.Whole()
			for id, pid := range b.Nodes() {
				if (pid != nodes[id]) != (id == o.Undone[0]) {
					t.Errorf("the node of %s: pid %d became %d; %s was rolled back", id, nodes[id], pid, o.Undone[0])
				}
				if err := b.Runs(t.Context(), b.Get(id), tags[id]); err != nil {
					t.Error(err)
				}
			}
			if now := b.tags(); !box.Equal(tags, now) {
				t.Errorf("versions %v became %v", tags, now)
			}
			if now := b.View().Holder(); now != holder {
				t.Errorf("production moved from %s to %s", holder, now)
			}
			t.Log(text)
		})
	}
	b.Done("/cluster/upgrade", box.Fields{"tag": next}, 2*endTime)
	b.Whole()
	b.Judge(false)
}

// TestAFailureOfTheLastTakesAllBack: with "undo" of "all" a version that fails on the last member, the former holder, leaves none
// of the members with it.
func TestAFailureOfTheLastTakesAllBack(t *testing.T) {
	t.Parallel()
	b := layOut(t, drill.Options{}).up()
	before := b.tags()
	failOnHolder(b)
	o := b.End(b.Order("/cluster/upgrade", box.Fields{"tag": failed3, "undo": "all", "limit": limit}), 2*endTime)
	if o.Outcome != "failed" || len(o.Undone) != len(b.Members) || len(o.Done) != 0 {
		t.Errorf("it is %s, through: %v, rolled back: %v: %s", o.Outcome, o.Done, o.Undone, box.Told(o))
	}
	b.Whole()
	if now := b.tags(); !box.Equal(before, now) {
		t.Errorf("versions %v became %v", before, now)
	}
	b.Judge(false)
	t.Log(box.Told(o), time.Duration(o.Seconds*float64(time.Second)))
}
