package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"roundtable/backup"
	"roundtable/backup/store"
)

// play runs a job and returns what it said.
func play(t *testing.T, ctx context.Context, j Job) ([]Line, error) { //nolint:revive // t first, as everywhere here
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = Run(ctx, bytes.NewReader(text), &out)
	var lines []Line
	for line := range strings.Lines(out.String()) {
		l, err := ReadLine([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	return lines, err
}

// last is what a job came to.
func last(lines []Line) Line {
	for i := len(lines) - 1; i >= 0; i-- {
		if lines[i].Progress == nil {
			return lines[i]
		}
	}
	return Line{}
}

// TestJobs does one of each kind, encrypted.
func TestJobs(t *testing.T) {
	source, target := t.TempDir(), filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(filepath.Join(source, "blocks.log"), bytes.Repeat([]byte("block"), 1<<18), 0o600); err != nil {
		t.Fatal(err)
	}
	key, recipient, err := NewKey(time.Now())
	if err != nil || !strings.HasPrefix(recipient, "age1") || !bytes.Contains(key, []byte("# public key: "+recipient)) {
		t.Fatalf("%s, %s, %v", key, recipient, err)
	}
	_, other, err := NewKey(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r := Repository{URL: "file://" + t.TempDir(), Key: string(key), Recipients: []string{other}, Upload: 1 << 30}
	do := func(j Job) Line {
		t.Helper()
		j.Repository = r
		lines, err := play(t, t.Context(), j)
		if err != nil {
			t.Fatalf("%s: %v", j.Do, err)
		}
		return last(lines)
	}
	meta := backup.Meta{Kind: "data", ChainID: strings.Repeat("ab", 32), Member: "m1", Head: 7}
	if got := do(Job{Do: DoBackup, ID: "x", Create: true, Source: &backup.Source{Dir: source, Meta: meta}}); got.Info == nil || got.Info.Files != 1 {
		t.Errorf("%+v", got)
	}
	do(Job{Do: DoReadback, ID: "x"})
	if got := do(Job{Do: DoCommit, ID: "x"}); got.Info == nil || len(got.Info.Manifest) != 64 {
		t.Errorf("%+v", got)
	}
	do(Job{Do: DoVerify, ID: "x"})
	if got := do(Job{Do: DoList}); got.Info == nil || got.Info.ID != "x" || got.Info.Meta.Head != 7 {
		t.Errorf("%+v", got)
	}
	if got := do(Job{Do: DoInfo, ID: "x"}); got.Info == nil || got.Info.Meta.ChainID != meta.ChainID {
		t.Errorf("%+v", got)
	}
	do(Job{Do: DoRestore, ID: "x", Folder: target})
	torn := filepath.Join(strings.TrimPrefix(r.URL, "file://"), "manifests", "torn")
	if err := os.WriteFile(torn, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	lines, err := play(t, t.Context(), Job{Do: DoList, Repository: r})
	infos, damaged := 0, []string{}
	for _, l := range lines {
		if l.Info != nil {
			infos++
		} else if l.Damaged != nil {
			damaged = append(damaged, l.Damaged.Code, l.Damaged.Backup)
		}
	}
	if f := last(lines).Failed; err == nil || f == nil || f.Code != CodeDamaged || infos != 1 || !slices.Equal(damaged, []string{CodeDamaged, "torn"}) {
		t.Errorf("a list with damage: %v, %+v", err, lines)
	}
	if err := os.Remove(torn); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(target, "blocks.log")); err != nil || len(text) != 5<<18 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if got := do(Job{Do: DoSweep, Keep: &backup.Keep{Drop: []string{"x"}}}); got.Swept == nil || len(got.Swept.Gone) != 1 {
		t.Errorf("%+v", got)
	}
}

// TestFailures: each is told with a code, what to do, and no secret; it is found again on the other side of the pipe.
func TestFailures(t *testing.T) {
	key, _, err := NewKey(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	another, _, err := NewKey(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	good := Repository{URL: "file://" + dir, Key: string(key)}
	if _, err := play(t, t.Context(), Job{Do: DoList, Repository: good, Create: true}); err != nil {
		t.Fatal(err)
	}
	taken := t.TempDir()
	if err := os.WriteFile(filepath.Join(taken, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		job  Job
		code string
		is   error
	}{
		"no repository": {Job{Do: DoList, Repository: Repository{URL: "file://" + t.TempDir()}}, "no_repository", backup.ErrNoRepository},
		"another key":   {Job{Do: DoList, Repository: Repository{URL: good.URL, Key: string(another)}}, "key", backup.ErrKey},
		"no key":        {Job{Do: DoList, Repository: Repository{URL: good.URL}}, "key", backup.ErrKey},
		"half a key":    {Job{Do: DoList, Repository: Repository{URL: good.URL, Key: "AGE-SECRET-KEY-1HUSH"}}, "key", backup.ErrKey},
		"no backup":     {Job{Do: DoInfo, ID: "x", Repository: good}, "no_backup", backup.ErrNoBackup},
		"not empty":     {Job{Do: DoBackup, ID: "x", Create: true, Source: &backup.Source{Dir: dir}, Repository: Repository{URL: "file://" + taken}}, "not_empty", backup.ErrNotEmpty},
		"no folder":     {Job{Do: DoList, Repository: Repository{URL: "file:///nowhere/at/all"}}, string(store.NoBucket), nil},
		"a secret":      {Job{Do: DoList, Repository: Repository{URL: "s3://u:hush@bucket/x"}}, string(store.BadURL), nil},
		"no kind":       {Job{Do: "x", Repository: good}, "other", nil},
	} {
		lines, err := play(t, t.Context(), c.job)
		f := last(lines).Failed
		if err == nil || f == nil || f.Code != c.code || c.is != nil && (!errors.Is(f, c.is) || f.Hint == "") {
			t.Errorf("%s: %v, %+v", name, err, f)
			continue
		}
		if strings.Contains(strings.ToLower(f.Error()), "hush") || strings.Contains(f.Error(), "AGE-SECRET") {
			t.Errorf("%s: %v", name, f)
		}
	}
	var out bytes.Buffer
	if err := Run(t.Context(), strings.NewReader(`{"repository": {"key": hush}}`), &out); err == nil || strings.Contains(out.String(), "hush") {
		t.Errorf("%v: %s", err, out.String())
	}
}

// TestFailuresGoThroughAPipe for what cannot be brought about so easily.
func TestFailuresGoThroughAPipe(t *testing.T) {
	for _, c := range []struct {
		err  error
		code string
		is   error
	}{
		{fmt.Errorf("x: %w", &backup.Damage{Backup: "b", Objects: []string{"packs/1"}, Files: []string{"f"}, Err: errors.New("torn")}), CodeDamaged, nil},
		{fmt.Errorf("x: %w", backup.ErrChain), "chain", backup.ErrChain},
		{fmt.Errorf("x: %w", syscall.ENOSPC), string(store.NoSpace), nil},
		{fmt.Errorf("x: %w", syscall.EACCES), string(store.Permission), nil},
		{context.Canceled, "ended", nil},
		{errors.New("x"), "other", nil},
	} {
		text, err := json.Marshal(Line{Failed: failure(c.err)})
		if err != nil {
			t.Fatal(err)
		}
		l, err := ReadLine(text)
		if err != nil || l.Failed.Code != c.code || c.is != nil && !errors.Is(l.Failed, c.is) || errors.Is(l.Failed, backup.ErrKey) {
			t.Errorf("%v: %s, %v", c.err, text, err)
		}
		var d *backup.Damage
		if got := errors.As(l.Failed, &d); got != (c.code == CodeDamaged) || got && (d.Backup != "b" || d.Objects[0] != "packs/1" || d.Files[0] != "f") {
			t.Errorf("%v: %+v", c.err, d)
		}
	}
}

// TestAWorkerThatIsEnded says so.
func TestAWorkerThatIsEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	lines, err := play(t, ctx, Job{Do: DoList, Repository: Repository{URL: "file://" + t.TempDir()}, Create: true})
	if !errors.Is(err, context.Canceled) || last(lines).Failed == nil || !strings.Contains(last(lines).Failed.Text, "ended before it was done") {
		t.Errorf("%v, %+v", err, lines)
	}
}

// FuzzRun: whatever comes in, there is one answer.
func FuzzRun(f *testing.F) {
	f.Add(`{"do":"list","repository":{"url":"file:///nowhere"}}`)
	f.Add(`{"do":"backup","source":{"Dir":""}}`)
	f.Add(`[`)
	f.Fuzz(func(t *testing.T, job string) {
		if strings.Contains(job, "://") && !strings.Contains(job, "file:///nowhere") || strings.Contains(job, "create_dir") {
			t.Skip("it asks the network, or writes")
		}
		var out bytes.Buffer
		if err := Run(t.Context(), strings.NewReader(job), io.MultiWriter(&out)); err != nil && !strings.Contains(out.String(), `"failed"`) {
			t.Errorf("%v: %s", err, out.String())
		}
	})
}
