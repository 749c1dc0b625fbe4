package backup

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"filippo.io/age"
)

// What an operation on a repository says; wrapped, so that errors.Is finds them.
var (
	ErrNoRepository = errors.New("there is no repository")
	ErrNotEmpty     = errors.New("there is something else in the store")
	ErrKey          = errors.New("the key does not fit the repository")
	ErrNewer        = errors.New("the repository was made by a newer version")
	ErrNoBackup     = errors.New("there is no such backup")
	ErrChanged      = errors.New("a file has changed while it was read")
	ErrChain        = errors.New("it is of another chain")
	ErrFolder       = errors.New("the folder is not empty")
	ErrSource       = errors.New("there is nothing to back up")
)

// Damage says that a repository does not hold what was written into it: which objects are missing or have other bytes, and
// which files of the backup that costs. It lists the first maxDamage of each.
type Damage struct {
	Backup  string
	Objects []string // names in the store, sorted
	Files   []string // paths in the backup, sorted; empty where the manifest itself cannot be read
	Err     error    // what was wrong with the first object
}

const maxDamage = 100

func (d *Damage) Error() string {
	s := fmt.Sprintf("backup %s is damaged: %v", d.Backup, d.Err)
	if len(d.Objects) > 0 {
		s += "; objects " + some(d.Objects)
	}
	if len(d.Files) > 0 {
		s += "; files " + some(d.Files)
	}
	return s
}

// Unwrap gives what was wrong with the first object.
func (d *Damage) Unwrap() error { return d.Err }

// Damages are those that an error joins, such as one of Repository.List.
func Damages(err error) (all []*Damage) {
	var joined interface{ Unwrap() []error }
	if d := (*Damage)(nil); errors.As(err, &joined) {
		for _, err := range joined.Unwrap() {
			all = append(all, Damages(err)...)
		}
	} else if errors.As(err, &d) {
		all = append(all, d)
	}
	return all
}

func some(names []string) string {
	const shown = 3
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}

// Options are how a repository is used. The zero value reads and writes a repository that is there and is not encrypted.
type Options struct {
	Identities []age.Identity   // who can read an encrypted repository; with Recipients, or none of both
	Recipients []age.Recipient  // for whom is encrypted what is written
	Create     bool             // Open makes the repository if the store is empty
	Log        *slog.Logger     // nil: no lines
	Now        func() time.Time // nil: time.Now
	Parallel   int              // how many segments are worked on, and packs written or read, at a time; 0: what suits the machine
	PackBytes  int              // how full a pack is made; 0: 16 MiB
	Cache      string           // a folder of this member for what makes going on after a kill quicker; may be "", may be lost
}

// Meta says what is in a backup. The engine compares ChainID and Member, and keeps the rest for its readers.
type Meta struct {
	Kind        string `json:"kind"` // snapshot or data
	Cluster     string `json:"cluster,omitempty"`
	ChainID     string `json:"chain_id,omitempty"`
	Member      string `json:"member,omitempty"` // whose files they are: only then inode numbers mean something
	NodeVersion string `json:"node_version,omitempty"`
	First       uint32 `json:"first,omitempty"` // first block in the block log
	Head        uint32 `json:"head,omitempty"`
	HeadID      string `json:"head_id,omitempty"`
	HeadTime    int64  `json:"head_time,omitempty"` // Unix ms
	LIB         uint32 `json:"lib,omitempty"`
	Created     int64  `json:"created"` // Unix ms
}

// Source is what a backup is made of.
type Source struct {
	Dir    string   // the folder whose files are stored, by their path in it
	Files  []string // what of it, as slash paths in it: files, and folders with all below; none: everything
	Except []string // what not, likewise; patterns of path.Match for the whole path, too
	Meta   Meta
	Bases  []string // ids of backups that are done: their packs may be referred to. The best two of them are used
	Ahead  bool     // the node runs: only append-only and immutable files, as far as they are whole segments, and no manifest
}

// Info is what is known of a backup.
type Info struct {
	ID       string   `json:"id"`
	Meta     Meta     `json:"meta"`
	Files    int      `json:"files"`
	Size     int64    `json:"size"`   // bytes of all files, with their holes
	Data     int64    `json:"data"`   // the same without holes
	Stored   int64    `json:"stored"` // bytes of its own objects in the repository
	Bases    []string `json:"bases,omitempty"`
	Manifest string   `json:"manifest,omitempty"` // SHA-256 of the object, in hex; none for Source.Ahead
}

// Progress is how far an operation is.
type Progress struct {
	Percent int    `json:"percent"` // 0 to 100, never falling
	Done    int64  `json:"done"`    // bytes read, or read back
	Total   int64  `json:"total"`
	Stored  int64  `json:"stored"` // bytes written into the repository so far
	Text    string `json:"text,omitempty"`
}

// Keep tells a sweep what is known of the backups. An id in both lists is kept; one in none is unknown: its manifest is never
// deleted, and what it has without a manifest only once all of it is older than Grace.
type Keep struct {
	Keep  []string      `json:"keep,omitempty"`  // done, damaged and running ones
	Drop  []string      `json:"drop,omitempty"`  // failed and expired ones
	Grace time.Duration `json:"grace,omitempty"` // 0: 7 days; longer than any backup takes
}

// Swept is what a sweep did.
type Swept struct {
	Manifests int      `json:"manifests"`         // manifests deleted
	Pending   int      `json:"pending"`           // unfinished ones deleted
	Packs     int      `json:"packs"`             // packs and tables deleted
	Bytes     int64    `json:"bytes"`             // of all that was deleted
	Failed    int      `json:"failed"`            // objects that could not be deleted: the next sweep tries again
	Problem   string   `json:"problem,omitempty"` // why the first of them could not
	Gone      []string `json:"gone,omitempty"`    // ids of Keep.Drop of which nothing is left but packs that others refer to, sorted
}

// validID says whether an id can be part of an object's name.
func validID(id string) error {
	if id == "" || len(id) > 100 || strings.HasPrefix(id, ".") || strings.ContainsFunc(id, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", r)
	}) {
		return fmt.Errorf("%.120q is no id of a backup: at most 100 of a-z A-Z 0-9 - _ . and no dot at the front", id)
	}
	return nil
}
