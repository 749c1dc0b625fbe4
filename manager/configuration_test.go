package manager

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

func TestHashOfAConfiguration(t *testing.T) {
	all := []configuration{
		{}, {Template: "a = 1"}, {Template: "a = 1\na = 2"}, {Template: "a = 2\na = 1"}, {Template: "[s]\na = 1"}, {Template: "no line"}, {Template: "no  line"}, {Overlay: "a = 1"}, {Logging: "a = 1"}, {Args: []string{"a", "b"}}, {Args: []string{"a b"}}, {Args: []string{"b", "a"}},
		{Env: map[string]string{"a": "b"}}, {Env: map[string]string{"b": "a"}}, {Peers: []string{"a", "b"}},
	}
	seen := map[string]int{}
	for i, c := range all {
		hash := c.hash()
		if before, ok := seen[hash]; ok || len(hash) != 16 {
			t.Errorf("%d and %d: %s", i, before, hash)
		}
		seen[hash] = i
	}
	// What says the same to nodeos is the same.
	for _, same := range [][2]configuration{
		{{Template: "a = 1\nb = 2"}, {Template: "# made at 12:34\n\n b=2 # two\r\na =1\n"}},
		{{Overlay: "a = 2\na = 1\nb = 1"}, {Overlay: "a = 2\nb = 1\na = 1"}},
		{{Logging: `{"loggers": []}`}, {Logging: "{\"loggers\":\n[]}\n"}},
	} {
		if a, b := same[0].hash(), same[1].hash(); a != b {
			t.Errorf("%+v: %s and %s", same, a, b)
		}
	}
	// What is kept on disks and in the cluster's state must still be found by the next release.
	if got := (configuration{Template: "a = 1", Overlay: "b = 2", Logging: "{}", Args: []string{"c"}, Env: map[string]string{"d": "e", "f": "g"}, Peers: []string{"h:1"}}).hash(); got != "d764e748eb0051aa" {
		t.Errorf("the hash of a configuration changed: %s", got)
	}
}

func TestConfigsAreKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "configs")
	c := must[*configs](t)(openConfigs(dir))
	var all []string
	for i := range 12 {
		hash := must[string](t)(c.put(configuration{Template: "a = " + strconv.Itoa(i)}))
		at := time.Now().Add(time.Duration(i-12) * time.Hour)
		if err := os.Chtimes(c.path(hash), at, at); err != nil {
			t.Fatal(err)
		}
		all = append(all, hash)
	}
	for _, hash := range []string{all[0], all[1], all[1]} { // the second time changes nothing
		if err := c.adopt(hash); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.prune(all[3]); err != nil {
		t.Fatal(err)
	}
	c = must[*configs](t)(openConfigs(dir))
	if c.Adopted != all[1] || c.Before != all[0] {
		t.Errorf("after a restart: %+v", c.kept)
	}
	for i, hash := range all {
		conf, err := c.get(hash)
		if want := i < 2 || i == 3 || i >= 12-recentConfigs; (err == nil) != want || want && conf.hash() != hash {
			t.Errorf("%d: %v, wanted: %v", i, err, want)
		}
	}
	info, err := os.Stat(c.path(all[0]))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("it may hold keys: %v %v", info.Mode(), err)
	}
	if err := os.WriteFile(c.path(all[0]), []byte(`{"template":"a = 99"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, hash := range []string{all[0], "", "../configs/" + all[1], "kept"} {
		if _, err := c.get(hash); !errors.Is(err, errNoConfig) {
			t.Errorf("%q: %v", hash, err)
		}
	}
	if again := must[string](t)(c.put(configuration{Template: "a = 0"})); again != all[0] {
		t.Errorf("put again: %s", again)
	}
	if _, err := c.get(all[0]); err != nil {
		t.Errorf("a damaged file was not written anew: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, keptFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openConfigs(dir); err == nil {
		t.Error("a damaged kept.json is taken for an empty one")
	}
}
