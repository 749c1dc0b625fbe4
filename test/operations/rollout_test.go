package operations

import (
	"context"
	"encoding/json"
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
)

// rolloutTime bounds a rollout to three members, with the time until the change is noticed.
const rolloutTime = 60 * time.Second

// template is the file of config.ini's lines that a member has.
func template(m *drill.Member) string { return filepath.Join(m.Home, "template", "config.ini") }

// withTemplates lays out a sandbox whose members have a template each.
func withTemplates(t *testing.T) *box {
	b := layOut(t, drill.Options{})
	for _, m := range b.Members {
		if err := os.Mkdir(filepath.Dir(template(m)), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, template(m), "# nothing yet\n")
	}
	b.configure(func(m *drill.Member) string { return fmt.Sprintf("config_template = %q\n", template(m)) },
		func(*drill.Member) string { return upgrades(`step_timeout = "30s"`) })
	return b
}

// rollouts are the rollouts that the cluster knows, oldest first.
func (b *box) rollouts() []api.Operation { return b.listed("rollout") }

// listed are the operations of a kind that the cluster knows, oldest first.
func (b *box) listed(kind string) (list []api.Operation) {
	b.t.Helper()
	b.eventually(10*time.Second, "the list of operations", func(ctx context.Context) error {
		status, text, err := b.ask(ctx, b.running(), http.MethodGet, "/cluster/operations", nil)
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("%d %s %w", status, text, err)
		}
		var all []api.Operation
		if err := json.Unmarshal(text, &all); err != nil {
			return err
		}
		list = slices.DeleteFunc(all, func(o api.Operation) bool { return o.Kind != kind })
		slices.SortFunc(list, func(a, b api.Operation) int { return strings.Compare(a.Started, b.Started) })
		return nil
	})
	return list
}

// rolled waits for the end of the rollout that comes after so many, which none asked for.
func (b *box) rolled(before int) api.Operation {
	b.t.Helper()
	var o api.Operation
	b.eventually(rolloutTime, "a rollout", func(context.Context) error {
		list := b.rollouts()
		if len(list) <= before {
			return fmt.Errorf("there are %d", len(list))
		}
		if o = list[before]; o.Ended == "" {
			return fmt.Errorf("it is at: %s", o.Message)
		}
		return nil
	})
	return o
}

// patch changes the cluster's configuration.
func (b *box) patch(body fields) {
	b.t.Helper()
	b.send(http.MethodPatch, "/cluster/config", body, http.StatusOK, nil)
}

// has are the members whose nodes were started with a line in their config.ini.
func (b *box) has(line string) (ids []string) {
	b.t.Helper()
	for _, m := range b.Members {
		if strings.Contains(read(b.t, filepath.Join(m.Home, "node", "config", "config.ini")), line) {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// changed are the members whose node is another process now.
func changed(before, now map[string]int) (ids []string) {
	for id, pid := range now {
		if before[id] != pid {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// allOf fails where a rollout did not reach all members in the right order.
func (b *box) allOf(o api.Operation, before map[string]int, line, holder string) {
	b.t.Helper()
	if o.Outcome != "done" || len(o.Done) != len(b.Members) {
		b.t.Fatalf("the rollout is %s, through: %v: %s", o.Outcome, o.Done, told(o))
	}
	if last := o.Done[len(o.Done)-1]; last != holder {
		b.t.Errorf("%s held, and %s was the last one", holder, last)
	}
	b.settle()
	if got := changed(before, b.nodes()); len(got) != len(b.Members) {
		b.t.Errorf("only %v were restarted", got)
	}
	if got := b.has(line); len(got) != len(b.Members) {
		b.t.Errorf("only %v have %q", got, line)
	}
}

// rename replaces a file as an editor does: by another one that gets its name.
func rename(t *testing.T, file, text string) {
	t.Helper()
	write(t, file+".swp", text)
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
	wait := func(b *box) api.Operation {
		b.t.Helper()
		n++
		return b.rolled(n - 1)
	}
	t.Run("an overlay", func(t *testing.T) {
		b := b.in(t)
		nodes, holder := b.nodes(), b.overview().Holder()
		b.patch(fields{"overlay": "max-clients = 31\n"})
		b.allOf(wait(b), nodes, "max-clients = 31", holder)
	})
	t.Run("a bad overlay", func(t *testing.T) {
		b := b.in(t)
		nodes, holder := b.nodes(), b.overview().Holder()
		b.patch(fields{"overlay": "no-such-option-at-all = 1\n"})
		o := wait(b)
		b.stopsAtTheFirst(o, nodes, holder)
		if got := b.has("max-clients = 31"); len(got) != len(b.Members) {
			t.Errorf("only %v have the overlay from before", got)
		}
		var config api.ClusterConfig
		b.send(http.MethodGet, "/cluster/config", nil, http.StatusOK, &config)
		if strings.Contains(config.Overlay, "no-such-option") {
			t.Errorf("the bad overlay stays: %q", config.Overlay)
		}
	})
	t.Run("files that are renamed", func(t *testing.T) {
		b := b.in(t)
		nodes, holder := b.nodes(), b.overview().Holder()
		for _, m := range b.Members {
			rename(t, template(m), "net-threads = 3\n")
		}
		b.allOf(wait(b), nodes, "net-threads = 3", holder)
	})
	t.Run("a bad file", func(t *testing.T) {
		b := b.in(t)
		nodes, holder := b.nodes(), b.overview().Holder()
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
		nodes, holder := b.nodes(), b.overview().Holder()
		b.patch(fields{"take_over": true, "overlay": "max-clients = 32\n"})
		o := wait(b)
		b.allOf(o, nodes, "max-clients = 32", holder)
		if now := b.overview().Holder(); now != o.Done[len(o.Done)-1] {
			t.Errorf("%s was restarted last, and %s holds: %s", o.Done[len(o.Done)-1], now, told(o))
		}
	})
	b.settle()
	b.check(false)
}

// stopsAtTheFirst fails where a bad configuration did more than stop the first standby's node.
func (b *box) stopsAtTheFirst(o api.Operation, nodes map[string]int, holder string) {
	b.t.Helper()
	if o.Outcome != "failed" || len(o.Done) != 0 || len(o.Undone) != 1 || o.Undone[0] == holder {
		b.t.Fatalf("the rollout is %s, through: %v, rolled back: %v, %s holds: %s", o.Outcome, o.Done, o.Undone, holder, told(o))
	}
	if text := told(o); !strings.Contains(text, "254") || !strings.Contains(text, "option") {
		b.t.Errorf("it does not say why nodeos ended: %s", text)
	}
	b.settle()
	if got := changed(nodes, b.nodes()); !slices.Equal(got, o.Undone) {
		b.t.Errorf("%v were restarted, %v was rolled back", got, o.Undone)
	}
	if now := b.overview().Holder(); now != holder {
		b.t.Errorf("production moved from %s to %s", holder, now)
	}
	b.t.Log(told(o))
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
		write(t, filepath.Join(dir, "config.ini"), text)
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
	b.configure(func(m *drill.Member) string {
		return fmt.Sprintf("config_template = %q\n", filepath.Join(folder(m), "config.ini"))
	}, nil)
	b.up()
	nodes, holder := b.nodes(), b.overview().Holder()
	for _, m := range b.Members {
		mount(m, "..2026_11_22", "net-threads = 5\n")
		if err := os.RemoveAll(filepath.Join(folder(m), "..2026_11_21")); err != nil {
			t.Fatal(err)
		}
	}
	b.allOf(b.rolled(0), nodes, "net-threads = 5", holder)
	b.check(false)
}
