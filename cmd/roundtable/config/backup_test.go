package config

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestBackup: the sections as an operator writes them.
func TestBackup(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	dir := home(t, good+`
[backup]
repository = "main"
keep_old = "0s"
parallel = 2
[backup.repositories.cloud]
url = "s3://bucket/prefix?region=x"
env_file = "cloud.env"
upload_limit = "20MiB"
keep_within = "48h"
[backup.repositories.main]
url = "file:///var/backups"
encryption_key_file = "backup.key"
recipients = ["`+id.Recipient().String()+`"]
keep_last = 3
keep_bytes = "1.5TB"
[bootstrap]
snapshot = "snap.bin"
genesis = "genesis.json"
`)
	write(t, filepath.Join(dir, "cloud.env"), "AWS_REGION=x\n", 0o600)
	write(t, filepath.Join(dir, "backup.key"), id.String()+"\n", 0o600)
	c, err := Load(filepath.Join(dir, "config.toml"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Repository{
		"cloud": {URL: "s3://bucket/prefix?region=x", EnvFile: filepath.Join(dir, "cloud.env"), UploadLimit: 20 << 20, KeepWithin: Duration(48 * time.Hour)},
		"main":  {URL: "file:///var/backups", EncryptionKeyFile: filepath.Join(dir, "backup.key"), Recipients: []string{id.Recipient().String()}, KeepLast: 3, KeepBytes: 1.5e12},
	}
	if d := cmp.Diff(want, c.Backup.Repositories); d != "" {
		t.Error(d)
	}
	if got := c.Backup.RepositoryNames(); !slices.Equal(got, []string{"main", "cloud"}) {
		t.Errorf("%q", got)
	}
	if c.Bootstrap.Snapshot != filepath.Join(dir, "snap.bin") || c.Bootstrap.Genesis != filepath.Join(dir, "genesis.json") || c.Backup.Scratch != filepath.Join(dir, "backup", "scratch") {
		t.Errorf("paths: %+v, %s", c.Bootstrap, c.Backup.Scratch)
	}

	// A change of one of them is one of the table, counts at once, and nothing of the first is changed by it.
	before := c.Backup.Repositories["main"]
	write(t, filepath.Join(dir, "backup.key"), id.String()+"\n", 0o640)
	if err := c.Missing(); err == nil {
		t.Error("a loose key is taken")
	} else {
		wantProblem(t, err, "backup.repositories.main.encryption_key_file", "others may read", "chmod 600")
	}
	other, err := Load(filepath.Join(home(t, good), "config.toml"), []string{`ROUNDTABLE_BACKUP_REPOSITORIES={ main = { url = "file:///elsewhere" } }`}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Changes(other, Live); !slices.Contains(got, "backup.repositories") {
		t.Errorf("%q", got)
	}
	if next := c.Adopt(other, Live); next.Backup.Repositories["main"].URL != "file:///elsewhere" || cmp.Diff(before, c.Backup.Repositories["main"]) != "" {
		t.Errorf("%+v, %+v", next.Backup.Repositories, c.Backup.Repositories)
	}
	if other.Backup.Repository != "main" {
		t.Errorf("the only one is not the default: %q", other.Backup.Repository)
	}
}

// TestSecretsOfRepositories: what is wrong is told without what is secret.
func TestSecretsOfRepositories(t *testing.T) {
	dir := home(t, good+"[backup.repositories.main]\nurl = \"s3:///prefix?access_key=hush\"\nencryption_key_file = \"k\"\n")
	write(t, filepath.Join(dir, "k"), "AGE-SECRET-KEY-1HUSH", 0o600)
	c, err := Load(filepath.Join(dir, "config.toml"), nil, nil)
	if err == nil || len(Problems(err)) != 1 {
		t.Fatal(err)
	}
	missing := c.Missing()
	if len(Problems(missing)) != 1 || strings.Contains(strings.ToLower(err.Error()+missing.Error()), "hush") {
		t.Errorf("%v, %v", err, missing)
	}
}

// TestMissing: what only operations on backups need and do not find keeps no manager from starting; it is known nevertheless.
func TestMissing(t *testing.T) {
	dir := home(t, good+`
[backup]
pre_hook = "x"
post_hook = "keys"
volume_driver = "/nowhere/driver"
[backup.repositories.a]
url = "file:///var/backups"
env_file = "elsewhere"
encryption_key_file = "elsewhere"
[backup.repositories.b]
url = "file:///var/backups"
env_file = "loose"
encryption_key_file = "keys"
[backup.repositories.c]
url = "file:///var/backups"
encryption_key_file = "loose"
`)
	write(t, filepath.Join(dir, "loose"), "AWS_REGION=x\n", 0o644)
	c, err := Load(filepath.Join(dir, "config.toml"), nil, nil)
	if err != nil {
		t.Fatalf("it does not start: %v", err)
	}
	missing := c.Missing()
	for _, want := range []struct{ key, message, hint string }{
		{"backup.pre_hook", "cannot be run", "chmod +x"}, {"backup.post_hook", "cannot be run", "chmod +x"}, {"backup.volume_driver", "cannot be run", "chmod +x"},
		{"backup.repositories.a.env_file", "no such file", "put the file there"}, {"backup.repositories.a.encryption_key_file", "no such file", "put the file there"},
		{"backup.repositories.b.env_file", "others may read", "chmod 600"}, {"backup.repositories.b.encryption_key_file", "no file of age identities", "keygen"},
		{"backup.repositories.c.encryption_key_file", "others may read", "chmod 600"},
	} {
		wantProblem(t, missing, want.key, want.message, want.hint)
	}
	if n := len(Problems(missing)); n != 8 {
		t.Errorf("%d problems: %v", n, missing)
	}
	c, err = Load(filepath.Join(home(t, good), "config.toml"), nil, nil)
	if err != nil || c.Missing() != nil {
		t.Error(err, c.Missing())
	}
}

// TestReadKey: whoever reads a key refuses what others may read.
func TestReadKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	write(t, file, "secret", 0o600)
	if text, err := ReadKey(file); text != "secret" || err != nil {
		t.Error(text, err)
	}
	write(t, file, "secret", 0o640)
	if text, err := ReadKey(file); text != "" || err == nil || !strings.Contains(err.Error(), "chmod 600") || strings.Contains(err.Error(), "secret") {
		t.Error(text, err)
	}
	if _, err := ReadKey(file + "x"); err == nil {
		t.Error("one that is not there is read")
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "4096": 4096, "20MiB": 20 << 20, "20 MiB": 20 << 20, "1.5GB": 1.5e9, "3G": 3 << 30, "7B": 7, "2kB": 2000, "1TiB": 1 << 40} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "MiB", "-1", "-1MiB", "1e30TiB", "NaN", "Inf", "infB", "0x10", "1 000", "20MIB"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		want := Size(rapid.Int64Range(0, 1<<52).Draw(t, "bytes"))
		if got, err := parseSize(want.String()); err != nil || got != want {
			t.Fatalf("%d is written %s and read %d, %v", want, want, got, err)
		}
	})
}
