package backup

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/sys/unix"

	"roundtable/backup"
	"roundtable/backup/store"
	"roundtable/drill"
	"roundtable/fsm"
	"roundtable/test/box"
	"roundtable/test/servers"
)

// key makes a file with an age identity.
func key(t *testing.T) string {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key")
	box.Write(t, file, id.String()+"\n")
	return file
}

// skewed is a server whose clock is ahead of everybody else's, before a server that is right.
func skewed(t *testing.T, s *servers.Server, by time.Duration) string {
	t.Helper()
	to, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	const stamp = "20060102T150405Z"
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			if at, err := time.Parse(stamp, r.In.Header.Get("X-Amz-Date")); err == nil { // what is now to the client was some time ago to it
				r.Out.Header.Set("X-Amz-Date", at.Add(-by).Format(stamp))
			}
		},
		ModifyResponse: func(r *http.Response) error {
			r.Header.Set("Date", time.Now().Add(by).UTC().Format(http.TimeFormat))
			return nil
		},
	}
	front := httptest.NewServer(p)
	t.Cleanup(front.Close)
	return front.URL
}

// TestClearErrors has backups, restores and scans that cannot be done: the wrong key, credentials that are not known or may not write, a bucket that is not
// there, a server with another clock, one that is down, a full disk, a disk that is read-only, a repository of another chain, a folder that is something
// else. Each operation fails with a reason that names it and says what to do, no node was stopped for long, nothing is lost, and the next backup is made.
func TestClearErrors(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("small disks are mounted by root")
	}
	d := onServer(t)
	b := layOut(t, drill.Options{}, d)
	dir, right, wrong := t.TempDir(), key(t), key(t)
	section := func(lines ...string) string { return strings.Join(lines, "\n") + "\n" }
	env := func(key, secret string) string {
		file := filepath.Join(t.TempDir(), "env")
		box.Write(t, file, strings.Join(credentials(key, secret), "\n")+"\n")
		return fmt.Sprintf("env_file = %q", file)
	}
	reader := servers.User{Key: "reader", Secret: "reader-secret"}
	s := servers.S3(t, reader)
	if err := os.Mkdir(filepath.Join(s.Dir, "closed"), 0o700); err != nil {
		t.Fatal(err)
	}
	down := servers.S3(t)
	down.Kill()
	full, frozen, other := filepath.Join(dir, "full"), filepath.Join(dir, "frozen"), filepath.Join(dir, "other")
	box.Mount(t, full, 256<<10)
	box.Mount(t, frozen, 1<<20)
	foreign := foreignRepository(t, filepath.Join(dir, "foreign"))
	if err := os.MkdirAll(other, 0o700); err != nil {
		t.Fatal(err)
	}
	box.Write(t, filepath.Join(other, "diary.txt"), "Dear diary")
	secret := fmt.Sprintf("url = %q", "file://"+mkdir(t, dir, "secret"))
	for name, lines := range map[string]string{
		"secret":      section(secret, fmt.Sprintf("encryption_key_file = %q", right)),
		"wrong-key":   section(secret, fmt.Sprintf("encryption_key_file = %q", wrong)),
		"no-key":      section(secret),
		"credentials": section(fmt.Sprintf("url = %q", at(s, "closed")), env(servers.RootKey, "mistyped")),
		"permission":  section(fmt.Sprintf("url = %q", at(s, "closed")), env(reader.Key, reader.Secret)),
		"no-bucket":   section(fmt.Sprintf("url = %q", at(s, "not-there")), env(servers.RootKey, servers.RootSecret)),
		"skewed":      section(fmt.Sprintf("url = %q", "s3://closed?endpoint="+skewed(t, s, 20*time.Minute)), env(servers.RootKey, servers.RootSecret)),
		"full":        section(fmt.Sprintf("url = %q", "file://"+full)),
		"frozen":      section(fmt.Sprintf("url = %q", "file://"+frozen)),
		"other":       section(fmt.Sprintf("url = %q", "file://"+other)),
		"no-folder":   section(fmt.Sprintf("url = %q", "file://"+filepath.Join(dir, "nowhere"))),
		"foreign":     section(fmt.Sprintf("url = %q", "file://"+foreign)),
	} {
		b.repository(name, lines)
	}
	b.Configure(nil, func(*drill.Member) string { return "[backup]\nrepository = \"default\"\n" }) // of so many
	if err := unix.Mount("", frozen, "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		t.Fatal(err)
	}
	b.up()
	kept := b.backup(fsm.CopiesSnapshot, box.Fields{"repository": "secret"})
	if one := b.backup(fsm.CopiesSnapshot, nil); one.Repository != "default" {
		t.Errorf("where none was named it went to %s", one.Repository)
	}

	for _, c := range []struct {
		repository string
		path       string // "" for a backup
		reason     []string
	}{
		{repository: "wrong-key", reason: []string{"key"}},
		{repository: "no-key", reason: []string{"key"}},
		{repository: "credentials", reason: []string{"does not accept the credentials", "hint: set them"}},
		{repository: "permission", reason: []string{"do not allow"}},
		{repository: "no-bucket", reason: []string{"bucket is not there", "make it first"}},
		{repository: "skewed", reason: []string{"clock", "chronyc"}},
		{repository: "full", reason: []string{"no room is left", "free space"}},
		{repository: "frozen", reason: []string{"read-only"}},
		{repository: "other", reason: []string{"something else"}},
		{repository: "no-folder", reason: []string{"nowhere"}},
		{repository: "foreign", reason: []string{"another chain"}},
		{repository: "foreign", path: "/cluster/backups/scan", reason: []string{"chain"}},
	} {
		t.Run(c.repository+c.path, func(t *testing.T) {
			b := b.in(t)
			nodes := b.Nodes()
			path, body := c.path, box.Fields{"repository": c.repository, "limit": limit, "queue": "1m"}
			if path == "" {
				path, body["kind"] = "/cluster/backup", fsm.CopiesSnapshot
			}
			o := b.End(b.Order(path, body), endTime)
			text := box.Told(o)
			if o.Outcome != "failed" {
				t.Errorf("it is %s: %s", o.Outcome, text)
			}
			for _, want := range c.reason {
				if !strings.Contains(text, want) {
					t.Errorf("the reason does not say %q: %s", want, text)
				}
			}
			for _, no := range []string{servers.RootSecret, reader.Secret, "mistyped-", "AGE-SECRET"} {
				if strings.Contains(text, no) {
					t.Errorf("the reason has a secret: %s", text)
				}
			}
			if now := b.Nodes(); !box.Equal(nodes, now) {
				t.Errorf("nodes were stopped: pids %v became %v", nodes, now)
			}
			if o.Backup != "" {
				if state := b.stateOf(o.Backup); state != fsm.BackupFailed && state != "" {
					t.Errorf("the catalogue says that it is %s", state)
				}
			}
			t.Log(text)
		})
	}
	b.backup(fsm.CopiesData, nil)
	b.restore(kept.ID, b.standby().ID)
	b.Whole()
	b.Judge(false)
}

func mkdir(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// foreignRepository is one with a backup of another chain.
func foreignRepository(t *testing.T, dir string) string {
	t.Helper()
	source := mkdir(t, dir, "source")
	box.Write(t, filepath.Join(source, "snapshot.bin"), "of another chain")
	at := mkdir(t, dir, "repository")
	s, err := store.Open(t.Context(), "file://"+at, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	r, err := backup.Open(t.Context(), s, backup.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	const id = "20260101-000000-00000000"
	if _, err := r.Backup(t.Context(), id, backup.Source{Dir: source, Meta: backup.Meta{
		Kind: fsm.CopiesSnapshot, ChainID: strings.Repeat("ab", 32), Member: "m9", Head: 7, LIB: 7, Created: time.Now().UnixMilli(),
	}}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Commit(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return at
}
