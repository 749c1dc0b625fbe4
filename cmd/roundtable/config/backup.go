package config

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"roundtable/backup/store"
)

// Backup says where backups of this member's node go, how many are kept, and how they are made and restored. A request may say some of it otherwise.
type Backup struct {
	Repository string   `toml:"repository" change:"live"` // the repository that is used where nobody names one; default: the first by name
	Parallel   int      `toml:"parallel" change:"live"`   // segments worked on, and packs written or read, at a time; 0: what suits the machine
	StepLimit  Duration `toml:"step_limit" change:"live"` // for one step of an operation on a backup; at most 24h
	// folder that a backup is tried out in (`roundtable backup verify --trial`); it must have room for the whole of it; default: backup/scratch in the home
	Scratch string `toml:"scratch" change:"live"`
	// how long the data that a restore moved aside is kept; 0s: it is dropped when the node is proved back
	KeepOld Duration `toml:"keep_old" change:"live"`
	// executable that is run before a backup or restore stops anything; where it fails, so does the step, and nothing was stopped
	PreHook string `toml:"pre_hook" change:"live"`
	// executable that is run when it is over; where it fails, an alarm says so
	PostHook    string   `toml:"post_hook" change:"live"`
	HookTimeout Duration `toml:"hook_timeout" change:"live"` // for each of them; killed after it, which is a failure
	// executable that takes a snapshot of the node's volume, so that the node is down for a moment only: deploy/volume
	VolumeDriver string `toml:"volume_driver" change:"live"`
	// what becomes of a database that is dirty by nodeos' own words: last, it is replayed, and restored where that cannot be; first, restored at once; off, never restored without being asked
	AutoRestore     string   `toml:"auto_restore" change:"manager"`
	TrialLimit      Duration `toml:"trial_limit" change:"live"`      // for a node to come up on a backup that is tried out
	SnapshotTimeout Duration `toml:"snapshot_timeout" change:"live"` // for nodeos' chain snapshot: its block must become irreversible
	// see below
	Repositories map[string]Repository `toml:"repositories" change:"live"`
}

// Repository is one repository, by a name of its own that is the same on all members. A cloud's credentials come from the environment, from its own
// files, or from env_file.
type Repository struct {
	URL     string `toml:"url"`      // `file:///folder`, `s3://bucket/prefix?region=...&endpoint=...`, `gs://bucket/prefix` or `azblob://container/prefix`
	EnvFile string `toml:"env_file"` // file with the credentials for it, lines of NAME=value, mode 0600
	// file with the age identities that it is encrypted for and read with, mode 0600, the same on all members: `roundtable backup keygen` makes one; default: not encrypted
	EncryptionKeyFile string   `toml:"encryption_key_file"`
	Recipients        []string `toml:"recipients"`   // age recipients that may read it besides, such as one whose key lies in a safe
	KeepLast          int      `toml:"keep_last"`    // backups of each kind that are kept, the newest. What no rule keeps expires; without any rule all are kept
	KeepDaily         int      `toml:"keep_daily"`   // so many days that have one keep their newest
	KeepWeekly        int      `toml:"keep_weekly"`  // likewise for weeks
	KeepMonthly       int      `toml:"keep_monthly"` // likewise for months
	KeepWithin        Duration `toml:"keep_within"`  // all that are not older are kept
	// of all that is kept, the oldest expire until the rest takes no more than this
	KeepBytes     Size `toml:"keep_bytes"`
	UploadLimit   Size `toml:"upload_limit"`   // bytes a second, such as "20MiB"; default: no limit
	DownloadLimit Size `toml:"download_limit"` // likewise
}

// Bootstrap says what a node begins with. Of what is said here the first that applies is done, in this order: the backup that is named, the chain snapshot that is named,
// data that is there already, the latest chain snapshot, the archive, the script, the genesis file. One that is named is put in place once, whatever is there, which is moved aside.
// Where what applies fails, the node is not started, the manager tries it again, and an alarm says why. finalizers/ is never touched.
type Bootstrap struct {
	Backup   string `toml:"backup" change:"live"`   // id of a backup in the repository backup.repository
	Snapshot string `toml:"snapshot" change:"live"` // a chain snapshot: the path of a file, or the id of a backup of kind snapshot
	Latest   bool   `toml:"latest" change:"live"`   // the newest chain snapshot of the cluster's chain in the repository backup.repository
	Archive  string `toml:"archive" change:"live"`  // a .tar.zst, .tar.gz or .tar with the node's data folder: an https:// URL or a path
	SHA256   string `toml:"sha256" change:"live"`   // of the archive; needed for a URL
	Script   string `toml:"script" change:"live"`   // executable that fills the folder $ROUNDTABLE_FOLDER with what the data folder is to have
	Genesis  string `toml:"genesis" change:"live"`  // genesis.json that the chain begins with
}

// Values of backup.auto_restore.
const (
	RestoreLast  = "last"
	RestoreFirst = "first"
	RestoreOff   = "off"
)

const (
	maxTask         = 24 * time.Hour // fsm.MaxTask
	repositoriesKey = "backup.repositories"
)

// RepositoryNames are those that are configured, the one that is used by default first.
func (b Backup) RepositoryNames() []string {
	names := slices.Sorted(maps.Keys(b.Repositories))
	if i := slices.Index(names, b.Repository); i > 0 {
		names = slices.Insert(slices.Delete(names, i, i+1), 0, b.Repository)
	}
	return names
}

var (
	repositoryPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	digestPattern     = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
	backupIDPattern   = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
)

// fillBackup completes paths.
func (c *Config) fillBackup(under func(p *string, byDefault ...string)) {
	b := &c.Backup
	under(&b.Scratch, "backup", "scratch")
	for _, p := range []*string{&b.PreHook, &b.PostHook, &b.VolumeDriver, &c.Bootstrap.Script, &c.Bootstrap.Genesis} {
		under(p)
	}
	b.Repositories = maps.Clone(b.Repositories)
	for name, r := range b.Repositories {
		under(&r.EnvFile)
		under(&r.EncryptionKeyFile)
		b.Repositories[name] = r
	}
	if b.Repository == "" && len(b.Repositories) > 0 {
		b.Repository = slices.Sorted(maps.Keys(b.Repositories))[0]
	}
	if s := c.Bootstrap.Snapshot; s != "" && !backupIDPattern.MatchString(s) {
		under(&c.Bootstrap.Snapshot)
	}
	if a := c.Bootstrap.Archive; a != "" && !strings.Contains(a, "://") {
		under(&c.Bootstrap.Archive)
	}
}

func (c *Config) checkBackup(found *problems) {
	b := c.Backup
	if _, ok := b.Repositories[b.Repository]; b.Repository != "" && !ok {
		hint := "write a section [" + repositoriesKey + "." + b.Repository + "] with its url"
		if n := nearest(b.Repository, slices.Sorted(maps.Keys(b.Repositories))); n != "" {
			hint = "did you mean " + n + "?"
		}
		found.add(c, "backup.repository", hint, "there is no such repository")
	}
	c.between(found, "backup.parallel", b.Parallel, 0, 64, "leave it out")
	limits := []struct {
		key         string
		d           Duration
		least, most time.Duration
		hint        string
	}{
		{"backup.step_limit", b.StepLimit, time.Minute, maxTask, "6h suits most"},
		{"backup.keep_old", b.KeepOld, 0, 365 * 24 * time.Hour, "24h suits most"},
		{"backup.hook_timeout", b.HookTimeout, time.Second, maxStep, "5m suits most"},
		{"backup.trial_limit", b.TrialLimit, time.Second, maxTask, "30m suits most"},
		{"backup.snapshot_timeout", b.SnapshotTimeout, time.Second, maxTask, "15m suits most"},
	}
	for _, l := range limits {
		if l.d.D() < l.least || l.d.D() > l.most {
			found.add(c, l.key, l.hint, "must be %s to %s", l.least, l.most)
		}
	}
	c.oneOf(found, "backup.auto_restore", b.AutoRestore, RestoreLast, RestoreFirst, RestoreOff)
	for _, name := range slices.Sorted(maps.Keys(b.Repositories)) {
		c.checkRepository(found, name, b.Repositories[name])
	}
}

// schemes are those of the stores.
var schemes = []string{"file", "s3", "gs", "azblob"}

func (c *Config) checkRepository(found *problems, name string, r Repository) {
	at := func(key string) string { return repositoriesKey + "." + name + "." + key }
	if !repositoryPattern.MatchString(name) {
		found.add(c, repositoriesKey+"."+name, "1 to 63 small letters, digits, dashes", "is not a name of a repository")
	}
	u, err := url.Parse(r.URL)
	switch {
	case r.URL == "":
		found.add(c, at("url"), "write file:///folder, s3://bucket/prefix, gs://bucket/prefix or azblob://container/prefix", "is missing")
	case err != nil:
		found.add(c, at("url"), "write file:///folder, s3://bucket/prefix, gs://bucket/prefix or azblob://container/prefix", "is not a URL")
	case !slices.Contains(schemes, u.Scheme):
		hint := "write file:///folder, s3://bucket/prefix, gs://bucket/prefix or azblob://container/prefix"
		if n := nearest(u.Scheme, schemes); n != "" {
			hint = "did you mean " + n + "://?"
		}
		found.add(c, at("url"), hint, "is a URL of no kind that is known here")
	case u.Scheme == "file" && (u.Host != "" || !path.IsAbs(u.Path)):
		found.add(c, at("url"), "write file:// and the full path, which begins with / : file:///var/backups", "names no folder")
	case u.Scheme != "file" && u.Host == "":
		found.add(c, at("url"), "name the bucket after ://", "names no bucket")
	default:
		if err := store.CheckURL(r.URL); err != nil {
			found.add(c, at("url"), store.Hint(err), "%v", err)
		}
	}
	if r.EncryptionKeyFile == "" && len(r.Recipients) > 0 {
		found.add(c, at("recipients"), "name encryption_key_file too: a member reads back what it has stored", "stand there without a key of ours")
	}
	for _, text := range r.Recipients {
		if _, err := age.ParseRecipients(strings.NewReader(text)); err != nil {
			found.add(c, at("recipients"), "an age recipient begins with age1: `roundtable backup keygen` shows it", "%.12q... is no age recipient", text)
		}
	}
	for key, n := range map[string]int{"keep_last": r.KeepLast, "keep_daily": r.KeepDaily, "keep_weekly": r.KeepWeekly, "keep_monthly": r.KeepMonthly} {
		c.between(found, at(key), n, 0, 10_000, "leave it out for no such rule")
	}
}

// Missing is what operations on backups will not find on this disk, or may not use, of what the section names. It keeps no manager from
// starting and no changed file from counting: a node that has its data needs none of it, and the operation that does says so.
func (c *Config) Missing() error {
	var found problems
	b := c.Backup
	for key, file := range map[string]string{"backup.pre_hook": b.PreHook, "backup.post_hook": b.PostHook, "backup.volume_driver": b.VolumeDriver} {
		if file != "" {
			c.executable(&found, key, file)
		}
	}
	for name, r := range b.Repositories {
		at := repositoriesKey + "." + name + "."
		if r.EnvFile != "" {
			c.readable(&found, at+"env_file", r.EnvFile, true)
		}
		if r.EncryptionKeyFile == "" {
			continue
		}
		before := len(found)
		if c.readable(&found, at+"encryption_key_file", r.EncryptionKeyFile, true); len(found) > before {
			continue
		}
		text, err := ReadKey(r.EncryptionKeyFile)
		if err == nil {
			_, err = age.ParseIdentities(strings.NewReader(text))
		}
		if err != nil {
			found.add(c, at+"encryption_key_file", "make one with: roundtable backup keygen", "is no file of age identities")
		}
	}
	return found.join()
}

// ReadKey is the text of an encryption_key_file, which nobody but its owner may read. No error shows what is in it.
func ReadKey(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("others may read %s, mode %04o (hint: chmod 600 %s)", file, info.Mode().Perm(), file)
	}
	text, err := os.ReadFile(file)
	return string(text), err
}

// checkBootstrap does not ask whether files are there: that matters when they are wanted, and a node that has its data must start
// without them.
func (c *Config) checkBootstrap(found *problems) {
	b := c.Bootstrap
	needs := func(key, value string) {
		if value != "" && len(c.Backup.Repositories) == 0 {
			found.add(c, key, "write a section ["+repositoriesKey+".NAME] with its url", "there is no repository that it could come from")
		}
	}
	if b.Backup != "" && !backupIDPattern.MatchString(b.Backup) {
		found.add(c, "bootstrap.backup", "`roundtable backup list` shows the ids", "is no id of a backup")
	}
	needs("bootstrap.backup", b.Backup)
	switch {
	case b.Snapshot == "":
	case backupIDPattern.MatchString(b.Snapshot):
		needs("bootstrap.snapshot", b.Snapshot)
	}
	if b.Latest {
		needs("bootstrap.latest", "true")
	}
	if b.SHA256 != "" && !digestPattern.MatchString(b.SHA256) {
		found.add(c, "bootstrap.sha256", "sha256sum FILE shows it: 64 hex digits", "is no SHA-256")
	}
	if b.SHA256 != "" && b.Archive == "" {
		found.add(c, "bootstrap.archive", "name the archive, or take bootstrap.sha256 out", "is missing: there is a checksum of it")
	}
	if scheme, _, isURL := strings.Cut(b.Archive, "://"); isURL {
		u, err := url.Parse(b.Archive)
		switch {
		case err != nil || u.Host == "" || scheme != "https" && scheme != "http":
			found.add(c, "bootstrap.archive", "write https://HOST/FILE.tar.zst, or a path", "is not a URL that can be fetched")
		case b.SHA256 == "":
			found.add(c, "bootstrap.sha256", "give the SHA-256 of the archive, from whom you trust", "is missing: what comes over the network is checked")
		}
	}
	if b.Backup != "" && b.Snapshot != "" {
		found.add(c, "bootstrap.snapshot", "name the one or the other", "bootstrap.backup is named, too")
	}
}
