package operations

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/test/box"
)

// rolloutTime bounds a rollout to three members, with the time until the change is noticed.
const rolloutTime = 60 * time.Second

// template is the file of config.ini's lines that a member has.
func template(m *drill.Member) string { return filepath.Join(m.Home, "template", "config.ini") }

// withTemplates lays out a sandbox whose members have a template each.
func withTemplates(t *testing.T) *sandbox {
	b := layOut(t, drill.Options{})
	for _, m := range b.Members {
		if err := os.Mkdir(filepath.Dir(template(m)), 0o700); err != nil {
			t.Fatal(err)
		}
		box.Write(t, template(m), "# nothing yet\n")
	}
	b.Configure(func(m *drill.Member) string { return fmt.Sprintf("config_template = %q\n", template(m)) },
		func(*drill.Member) string { return upgrades(`step_timeout = "30s"`) })
	return b
}

// rollouts are the rollouts that the cluster knows, oldest first.
func (b *sandbox) rollouts() []api.Operation { return b.Listed("rollout") }

// rolled waits for the end of the rollout that comes after so many, which none asked for.
func (b *sandbox) rolled(before int) api.Operation {
	b.T.Helper()
	var o api.Operation
	b.Eventually(rolloutTime, "a rollout", func(context.Context) error {
		list := b.rollouts()
		if len(list) <= before {
			return fmt.Errorf("there are %d", len(list))
		}
		if o = list[before]; o.Ended == "" {
			return box.At(o)
		}
		return nil
	})
	return o
}

// patch changes the cluster's configuration.
func (b *sandbox) patch(body box.Fields) {
	b.T.Helper()
	b.Send(http.MethodPatch, "/cluster/config", body, http.StatusOK, nil)
}

// has are the members whose nodes were started with a line in their config.ini.
func (b *sandbox) has(line string) (ids []string) {
	b.T.Helper()
	for _, m := range b.Members {
		if strings.Contains(box.Read(b.T, filepath.Join(m.Home, "node", "config", "config.ini")), line) {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// allOf fails where a rollout did not reach all members in the right order.
func (b *sandbox) allOf(o api.Operation, before map[string]int, line, holder string) {
	b.T.Helper()
	if o.Outcome != "done" || len(o.Done) != len(b.Members) {
		b.T.Fatalf("the rollout is %s, through: %v: %s", o.Outcome, o.Done, box.Told(o))
	}
	if last := o.Done[len(o.Done)-1]; last != holder {
		b.T.Errorf("%s held, and %s was the last one", holder, last)
	}
	b.Whole()
	if got := box.Changed(before, b.Nodes()); len(got) != len(b.Members) {
		b.T.Errorf("only %v were restarted", got)
	}
	if got := b.has(line); len(got) != len(b.Members) {
		b.T.Errorf("only %v have %q", got, line)
	}
}

// rename replaces a file as an editor does: by another one that gets its name.
func rename(t *testing.T, file, text string) {
	t.Helper()
	box.Write(t, file+".swp", text)
	if err := os.Rename(file+".swp", file); err != nil {
		t.Fatal(err)
	}
}

// TestRollout: a change of the configuration reaches all members, one after another, the holder last and after a handoff: by the
// API, and by files that are replaced in the ways that files are replaced. What is bad stops at the first member, which goes on with
// what it had. Nothing is missed.
func TestRollout(t *testing.T) {
	t.Parallel()
	b := withTemplates(t)
	b.up()
	n := 0 // rollouts so far
	wait := func(b *sandbox) api.Operation {
		b.T.Helper()
		n++
		return b.rolled(n - 1)
	}
	t.Run("an overlay", func(t *testing.T) {
		b := b.in(t)
		nodes, holder := b.Nodes(), b.View().Holder()
		b.patch(box.Fields{"overlay": "max-clients = 31\n"})
		b.allOf(wait(b), nodes, "max-clients = 31", holder)
	})
	t.Run("a bad overlay", func(t *testing.T) {
		b := b.in(t)
		nodes, holder := b.Nodes(), b.View().Holder()
		b.patch(box.Fields{"overlay": "no-such-option-at-all = 1\n"})
		o := wait(b)
		b.stopsAtTheFirst(o, nodes, holder)
		if got := b.has("max-clients = 31"); len(got) != len(b.Members) {
			t.Errorf("only %v have the overlay from before", got)
		}
		var config api.ClusterConfig
		b.Send(http.MethodGet, "/cluster/config", nil, http.StatusOK, &config)
		if strings.Contains(config.Overlay, "no-such-option") {
			t.Errorf("the bad overlay stays: %q", config.Overlay)
		}
	})
	t.Run("files that are renamed", func(t *testing.T) {
		b := b.in(t)
		nodes, holder := b.Nodes(), b.View().Holder()
		for _, m := range b.Members {
			rename(t, template(m), "net-threads = 3\n")
		}
		b.allOf(wait(b), nodes, "net-threads = 3", holder)
	})
	t.Run("a bad file", func(t *testing.T) {
		b := b.in(t)
		nodes, holder := b.Nodes(), b.View().Holder()
		for _, m := range b.Members {
			rename(t, template(m), "another-option-that-is-none = 1\n")
		}
		b.stopsAtTheFirst(wait(b), nodes, holder)
		for _, m := range b.Members { // mended by its operator
			rename(t, template(m), "net-threads = 3\n")
		}
	})
	t.Run("the one that was restarted last takes over", func(t *testing.T) {
		b := b.in(t)
		nodes, holder := b.Nodes(), b.View().Holder()
		b.patch(box.Fields{"take_over": true, "overlay": "max-clients = 32\n"})
		o := wait(b)
		b.allOf(o, nodes, "max-clients = 32", holder)
		if now := b.View().Holder(); now != o.Done[len(o.Done)-1] {
			t.Errorf("%s was restarted last, and %s holds: %s", o.Done[len(o.Done)-1], now, box.Told(o))
		}
	})
	b.Whole()
	b.Judge(false)
}

// stopsAtTheFirst fails where a bad configuration did more than stop the first standby's node.
func (b *sandbox) stopsAtTheFirst(o api.Operation, nodes map[string]int, holder string) {
	b.T.Helper()
	if o.Outcome != "failed" || len(o.Done) != 0 || len(o.Undone) != 1 || o.Undone[0] == holder {
		b.T.Fatalf("the rollout is %s, through: %v, rolled back: %v, %s holds: %s", o.Outcome, o.Done, o.Undone, holder, box.Told(o))
	}
	if text := box.Told(o); !strings.Contains(text, "254") || !strings.Contains(text, "option") {
		b.T.Errorf("it does not say why nodeos ended: %s", text)
	}
	b.Whole()
	if got := box.Changed(nodes, b.Nodes()); !slices.Equal(got, o.Undone) {
		b.T.Errorf("%v were restarted, %v was rolled back", got, o.Undone)
	}
	if now := b.View().Holder(); now != holder {
		b.T.Errorf("production moved from %s to %s", holder, now)
	}
	b.T.Log(box.Told(o))
}

// TestMountedConfig: a template that is mounted as a ConfigMap is, behind two symbolic links of which one is replaced, is rolled out.
func TestMountedConfig(t *testing.T) {
	t.Parallel()
	b := layOut(t, drill.Options{})
	folder := func(m *drill.Member) string { return filepath.Join(m.Home, "mounted") }
	mount := func(m *drill.Member, version, text string) {
		t.Helper()
		dir := filepath.Join(folder(m), version)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		box.Write(t, filepath.Join(dir, "config.ini"), text)
		if err := os.Symlink(version, filepath.Join(folder(m), "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(folder(m), "..data_tmp"), filepath.Join(folder(m), "..data")); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range b.Members {
		mount(m, "..2026_11_21", "# nothing yet\n")
		if err := os.Symlink(filepath.Join("..data", "config.ini"), filepath.Join(folder(m), "config.ini")); err != nil {
			t.Fatal(err)
		}
	}
	b.Configure(func(m *drill.Member) string {
		return fmt.Sprintf("config_template = %q\n", filepath.Join(folder(m), "config.ini"))
	}, nil)
	b.up()
	nodes, holder := b.Nodes(), b.View().Holder()
	for _, m := range b.Members {
		mount(m, "..2026_11_22", "net-threads = 5\n")
		if err := os.RemoveAll(filepath.Join(folder(m), "..2026_11_21")); err != nil {
			t.Fatal(err)
		}
	}
	b.allOf(b.rolled(0), nodes, "net-threads = 5", holder)
	b.Judge(false)
}
