package worker

import (
	"encoding/json"
	"errors"
	"fmt"

	"roundtable/backup"
)

// What a job may be.
const (
	DoBackup   = "backup"   // Source is stored; with Source.Ahead only what can be while the node runs
	DoReadback = "readback" // what a backup has stored is read and compared
	DoCommit   = "commit"
	DoRestore  = "restore" // into Folder
	DoVerify   = "verify"
	DoSweep    = "sweep"
	DoList     = "list" // all that are committed, one Line.Info or Line.Damaged for each; where there is one of these it fails, with CodeDamaged
	DoInfo     = "info"
)

// Job is what a worker is asked to do. It is one JSON object, and holds secrets: it is for stdin only.
type Job struct {
	Do         string         `json:"do"`
	Repository Repository     `json:"repository"`
	ID         string         `json:"id,omitempty"` // of the backup
	Source     *backup.Source `json:"source,omitempty"`
	Folder     string         `json:"folder,omitempty"`
	Keep       *backup.Keep   `json:"keep,omitempty"`
	Create     bool           `json:"create,omitempty"` // the repository is made if the store is empty
	Parallel   int            `json:"parallel,omitempty"`
	Cache      string         `json:"cache,omitempty"`  // see backup.Options
	Memory     int64          `json:"memory,omitempty"` // bytes that the Go runtime is to keep to; 0: 200 MiB
}

// Repository says where a repository is and how to get into it.
type Repository struct {
	URL        string   `json:"url"`
	Env        []string `json:"env,omitempty"`        // NAME=value, the credentials
	Key        string   `json:"key,omitempty"`        // text of a file of age identities
	Recipients []string `json:"recipients,omitempty"` // besides
	Upload     int64    `json:"upload,omitempty"`     // bytes a second; 0: no limit
	Download   int64    `json:"download,omitempty"`
}

// Line is one line of a worker's stdout: one of its fields is set.
type Line struct {
	Progress *backup.Progress `json:"progress,omitempty"`
	Say      string           `json:"say,omitempty"`     // for the log: what is tried again
	Info     *backup.Info     `json:"info,omitempty"`    // of the backup, or of one of a list
	Damaged  *Failure         `json:"damaged,omitempty"` // of a list: a backup whose manifest cannot be read
	Swept    *backup.Swept    `json:"swept,omitempty"`
	Failed   *Failure         `json:"failed,omitempty"`
}

// Failure is an error of the engine or a store that went through a pipe. errors.Is finds the sentinels of package backup in it that
// were in the original one, and errors.As a *backup.Damage.
type Failure struct {
	Code    string   `json:"code"` // what kind it is: of codes, or a store.Code
	Text    string   `json:"text"`
	Hint    string   `json:"hint,omitempty"`
	Objects []string `json:"objects,omitempty"` // those damaged
	Files   []string `json:"files,omitempty"`   // and the files that it costs
	Backup  string   `json:"backup,omitempty"`
}

// CodeDamaged is the code of a *backup.Damage.
const CodeDamaged = "damaged"

// codes name the errors of the engine, each with what to do about it.
var codes = []struct {
	err        error
	code, hint string
}{
	{backup.ErrNoRepository, "no_repository", "look at the URL; the first backup makes a repository"},
	{backup.ErrNotEmpty, "not_empty", "a repository wants a bucket, folder or prefix of its own"},
	{backup.ErrKey, "key", "set encryption_key_file to the key that the repository was made with; without that key nobody can read it"},
	{backup.ErrNewer, "newer", "upgrade roundtable on this member first"},
	{backup.ErrNoBackup, "no_backup", "`roundtable backup list` shows those that are there; `roundtable backup scan` looks into the repository"},
	{backup.ErrChanged, "changed", "somebody else writes into the node's data folder"},
	{backup.ErrChain, "chain", "use a repository of its own for each chain"},
	{backup.ErrFolder, "folder", "empty the folder, or name another one"},
	{backup.ErrSource, "source", "the node's data folder holds no chain"},
	{backup.ErrExists, "exists", ""},
	{backup.ErrNotFound, "not_found", "`roundtable backup verify` tells what is damaged"},
}

// Error is the text with what to do.
func (f *Failure) Error() string {
	if f.Hint != "" {
		return fmt.Sprintf("%s (hint: %s)", f.Text, f.Hint)
	}
	return f.Text
}

// Is finds the engine's error that it was.
func (f *Failure) Is(target error) bool {
	for _, c := range codes {
		if c.code == f.Code {
			return c.err == target
		}
	}
	return false
}

// As gives the damage that it was.
func (f *Failure) As(target any) bool {
	d, ok := target.(**backup.Damage)
	if !ok || f.Code != CodeDamaged {
		return false
	}
	*d = &backup.Damage{Backup: f.Backup, Objects: f.Objects, Files: f.Files, Err: errors.New(f.Text)}
	return true
}

// ReadLine reads a line of a worker's stdout.
func ReadLine(text []byte) (l Line, err error) {
	if err := json.Unmarshal(text, &l); err != nil {
		return Line{}, fmt.Errorf("worker: a line that is none: %w", err)
	}
	return l, nil
}
