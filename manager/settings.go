package manager

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"roundtable/cluster"
	"roundtable/cluster/control"
	"roundtable/cmd/roundtable/config"
	"roundtable/durable"
)

// settingsFile holds what the configuration said of this member at the last start: so that the next one can tell a change of the
// configuration from a change by an operator, which stands in the cluster's state.
const settingsFile = "configured.json"

// mayStart refuses to found a second cluster beside the first: a home whose manager was a member before, that has lost its raft
// folder and names nobody to join, would grant itself a lease while the others go on.
func mayStart(c *config.Config) error {
	if len(c.Manager.Join) > 0 {
		return nil
	}
	before := filepath.Join(c.Manager.Home, settingsFile)
	if _, err := os.Stat(before); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Stat(c.RaftDir()); !errors.Is(err, fs.ErrNotExist) {
		if list, err := os.ReadDir(c.RaftDir()); err != nil || len(list) > 0 {
			return err
		}
	}
	return &cluster.ConfigError{
		Message: "this member was in a cluster before and its raft folder is empty: it would found a second cluster beside the first, and both would sign",
		Hint:    "name the other members' gossip addresses in manager.join, and it joins them; only if there is no other member any more and you mean to begin anew, delete " + before,
	}
}

// lastSettings reads them; nil where there are none. A file that cannot be read counts as none: then the configuration wins.
func lastSettings(home string, log *slog.Logger) *control.Settings {
	b, err := os.ReadFile(filepath.Join(home, settingsFile))
	var s control.Settings
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			log.Warn("what was configured at the last start is unreadable: the configuration counts, whatever an operator changed since", "file", settingsFile, "err", err)
		}
		return nil
	}
	return &s
}

// keepSettings writes them.
func keepSettings(home string, s control.Settings) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("manager: %s: %w", settingsFile, err)
	}
	return durable.Write(filepath.Join(home, settingsFile), append(b, '\n'))
}
