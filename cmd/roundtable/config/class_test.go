package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestEveryKeyHasAClass, and each class the keys that a manager acts on: whoever adds a key decides when a change of it counts, and
// has the manager do so (manager/reload.go).
func TestEveryKeyHasAClass(t *testing.T) {
	have := map[Class][]string{}
	for _, f := range Default().fields() {
		have[f.class] = append(have[f.class], f.key)
	}
	for class, keys := range have {
		if !slices.Contains([]Class{Live, AtNode, AtManager}, class) {
			t.Errorf("%q is no class, of %q", class, keys)
		}
	}
	for class, want := range map[Class]string{
		Live: "manager.priority manager.nofailover manager.log_level node.stop_timeout node.crash_budget node.crash_window " +
			"upgrade.auto_install upgrade.source upgrade.asset upgrade.checksums upgrade.binary upgrade.token_file upgrade.connection_retries " +
			"upgrade.folders upgrade.keep upgrade.hook upgrade.hook_timeout upgrade.step_timeout upgrade.rollout " +
			"backup.repository backup.parallel backup.step_limit backup.scratch backup.keep_old backup.pre_hook backup.post_hook backup.hook_timeout " +
			"backup.volume_driver backup.trial_limit backup.snapshot_timeout backup.repositories " +
			"bootstrap.backup bootstrap.snapshot bootstrap.latest bootstrap.archive bootstrap.sha256 bootstrap.script bootstrap.genesis tls.hosts",
		AtNode: "node.path node.args node.config_template node.peers node.env",
	} {
		if got := strings.Join(have[class], " "); got != want {
			t.Errorf("%s: %s, want %s", class, got, want)
		}
	}
}

// another changes one value, whatever its kind.
func another(t *testing.T, v reflect.Value) {
	t.Helper()
	switch p := v.Addr().Interface().(type) {
	case *Duration:
		*p += Duration(time.Second)
	case *string:
		*p += "x"
	case *bool:
		*p = !*p
	case *int:
		*p++
	case *[]string:
		*p = append(slices.Clone(*p), "x")
	case *map[string]string:
		*p = map[string]string{"x": "y"}
	case *map[string]Repository:
		*p = map[string]Repository{"x": {URL: "file:///y"}}
	default:
		t.Fatalf("a %s", v.Type())
	}
}

// TestChangesAndAdopt, key by key: a change is seen in its class alone, and adopted with it alone.
func TestChangesAndAdopt(t *testing.T) {
	classes := []Class{Live, AtNode, AtManager}
	for i, f := range Default().fields() {
		old, changed := Default(), Default()
		another(t, changed.fields()[i].value)
		for _, class := range classes {
			want := []string(nil)
			if class == f.class {
				want = []string{f.key}
			}
			if got := old.Changes(changed, class); !slices.Equal(got, want) {
				t.Errorf("%s, class %s: %q", f.key, class, got)
			}
			adopted := old.Adopt(changed, class)
			if got := adopted.Changes(changed, f.class); (len(got) == 0) != (class == f.class) {
				t.Errorf("%s with class %s adopted: %q differ", f.key, class, got)
			}
		}
		if got := old.Adopt(changed, classes...); !reflect.DeepEqual(got.fields()[i].value.Interface(), changed.fields()[i].value.Interface()) {
			t.Errorf("%s is not adopted", f.key)
		}
		if got := old.Changes(Default(), f.class); len(got) > 0 {
			t.Errorf("%s: the old one was changed by it: %q", f.key, got)
		}
	}
	empty := Default()
	empty.Node.Args, empty.Node.Env = []string{}, map[string]string{}
	if got := Default().Changes(empty, AtNode); len(got) > 0 {
		t.Errorf("none and empty: %q", got)
	}
}

// TestAgain: the environment and the flags still lie over a file that was changed.
func TestAgain(t *testing.T) {
	dir := home(t, good)
	file := filepath.Join(dir, "config.toml")
	c, err := Load(file, []string{"ROUNDTABLE_NODE_CRASH_BUDGET=7"}, map[string]string{"manager.priority": "4"})
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, strings.Replace(good, "[cluster]", "priority = 1\nnofailover = true\n[cluster]", 1)+"crash_budget = 2\n", 0o644)
	again, err := c.Again()
	if err != nil {
		t.Fatal(err)
	}
	if again.Manager.Priority != 4 || again.Node.CrashBudget != 7 || !again.Manager.NoFailover || again.File() != file {
		t.Errorf("%+v", again)
	}
	if got := c.Changes(again, Live); !slices.Equal(got, []string{"manager.nofailover"}) {
		t.Errorf("%q", got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Again(); err == nil {
		t.Error("there is no file")
	}
}

// TestWords: what an operator reads in a line, without what is secret.
func TestWords(t *testing.T) {
	_, err := Load(filepath.Join(home(t, good), "config.toml"), nil, map[string]string{
		"lease.slots": "3", "manager.log_level": "x", "manager.id": "", "signer.kind": "keosd", "signer.url": "http://u:secret@10.0.0.1:8900",
	})
	got := Words(err, 2)
	if strings.Count(got, "(hint: ") != 2 || !strings.HasSuffix(got, "; and more") || strings.Contains(got, "\n") {
		t.Error(got)
	}
	if all := Words(err, 9); strings.Contains(all, "secret") || !strings.Contains(all, "signer.url") || strings.Contains(all, "and more") {
		t.Error(all)
	}
	if got := Words(os.ErrNotExist, 1); got != os.ErrNotExist.Error() {
		t.Error(got)
	}
}
