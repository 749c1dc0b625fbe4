package manager

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"roundtable/backup"
	"roundtable/cluster/control"
	"roundtable/durable"
	"roundtable/fsm"
)

// journal is what a member knows of its part in an operation: how far it is, and what it has to clear away. It is in
// HOME/backup/operations/BACKUP/KIND.json, written before what depends on it is done.
type journal struct {
	Operation  uint64 `json:"operation"`
	Kind       string `json:"kind"`
	Backup     string `json:"backup"`
	Repository string `json:"repository"`
	Stage      stage  `json:"stage,omitempty"`
	Hooked     bool   `json:"hooked,omitempty"` // the hook before it has run: the one after it is to
	Over       bool   `json:"over,omitempty"`   // and has

	Meta   backup.Meta `json:"meta,omitzero"`
	Volume string      `json:"volume,omitempty"` // token of a volume's snapshot, to be released
	Folder string      `json:"folder,omitempty"` // of it: where the node's data is to be copied from
	Files  []string    `json:"files,omitempty"`  // of it: what is to be stored. Before there is a chain snapshot: those that there were already
	Asked  bool        `json:"asked,omitempty"`  // nodeos was asked for a chain snapshot
	File   string      `json:"file,omitempty"`   // the chain snapshot that nodeos made for it
	Stored *fsm.Stored `json:"stored,omitempty"`
}

// stage is how far an operation is at its member.
type stage string

const (
	stageCopied    stage = "copied"  // the engine has the node's data, or a volume's snapshot has
	stageShot      stage = "shot"    // there is a chain snapshot
	stageWritten   stage = "written" // the engine has all of it
	stageCommitted stage = "committed"
	stageFetched   stage = "fetched"  // a restore's data lies beside the node's, whole, or is in its place (swap.go)
	stageKept      stage = "kept"     // it is in its place, and stays
	stageReturned  stage = "returned" // it was, or could not be, and the former data comes back
)

// operationsFolder holds the journals.
const operationsFolder = "operations"

func (v *vault) journalPath(backup, kind string) string {
	return v.dir(operationsFolder, backup, kind+".json")
}

// load reads the journal of an operation; a new one where there is none, or that of another operation.
func (v *vault) load(t control.VaultTask) (*journal, error) {
	fresh := &journal{Operation: t.Operation, Kind: t.Kind, Backup: t.Backup, Repository: t.Repository}
	j, err := readJournal(v.journalPath(t.Backup, t.Kind))
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	} else if err != nil {
		return nil, err
	}
	if j.Operation != t.Operation {
		return fresh, nil
	}
	return j, nil
}

func readJournal(path string) (*journal, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("manager: journal: %w", err)
	}
	j := new(journal)
	if err := json.Unmarshal(text, j); err != nil {
		return nil, fmt.Errorf("manager: %s: %w (hint: remove it; the operation then begins anew)", path, err)
	}
	return j, nil
}

// save writes a journal; op names the change for the tests.
func (v *vault) save(j *journal, op string) error {
	text, _ := json.MarshalIndent(j, "", "  ") // it cannot fail
	if err := durable.Write(v.journalPath(j.Backup, j.Kind), append(text, '\n')); err != nil {
		return fmt.Errorf("manager: journal: %w", err)
	}
	v.step(op)
	return nil
}
