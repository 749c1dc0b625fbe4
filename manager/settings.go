package manager

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"roundtable/cluster/control"
	"roundtable/durable"
)

// settingsFile holds what the configuration said of this member at the last start: so that the next one can tell a change of the
// configuration from a change by an operator, which stands in the cluster's state.
const settingsFile = "configured.json"

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
