package backup_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"roundtable/backup"
	"roundtable/backup/backuptest"
)

var (
	benchScale = flag.Int("bench.mib", 64, "MiB of blocks in the benchmarks; there is half as much of state, a sixteenth of that is not a hole")
	benchDir   = flag.String("bench.dir", "", "where the benchmarks write")
)

// benchNode lays out a data folder in the proportions of `make bench-backup`.
func benchNode(b *testing.B) string {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "node")
	if *benchDir != "" {
		dir = filepath.Join(*benchDir, "node")
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
	}
	scale := int64(*benchScale) << 20
	write(b, filepath.Join(dir, "blocks/blocks.log"), nil)
	for i := range scale >> 20 {
		chunk := noise(uint64(i), 1<<20)
		for j := 0; j < len(chunk); j += 64 { // blocks have some structure
			copy(chunk[j+32:j+64], "the same, again and again       ")
		}
		appendTo(b, filepath.Join(dir, "blocks/blocks.log"), chunk)
	}
	pieces := map[int64][]byte{}
	for i := range scale / 2 / 16 >> 18 {
		pieces[i<<22] = noise(uint64(i+1e6), 1<<18)
	}
	sparse(b, filepath.Join(dir, "state/shared_memory.bin"), scale/2, pieces)
	for i := range scale >> 18 {
		write(b, filepath.Join(dir, fmt.Sprintf("config/%d/%d.json", i%16, i)), noise(uint64(i+2e6), 8<<10))
	}
	age := time.Now().Add(-time.Hour)
	for p := range tree(b, dir) {
		if err := os.Chtimes(filepath.Join(dir, p), age, age); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

// cpu is the processor time that this process has taken: on a busy machine it tells more than the clock.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkBackup measures a first backup, one after a little has changed, a verification and a restore.
func BenchmarkBackup(b *testing.B) {
	dir := benchNode(b)
	root := b.TempDir()
	if *benchDir != "" {
		root = *benchDir
	}
	for b.Loop() {
		at, err := os.MkdirTemp(root, "run")
		if err != nil {
			b.Fatal(err)
		}
		r := open(b, backuptest.Folder(filepath.Join(at, "repository")), backup.Options{Create: true})
		lap, used := time.Now(), cpu(b)
		measure := func(what string) {
			b.ReportMetric(time.Since(lap).Seconds(), what+"-s/op")
			b.ReportMetric((cpu(b) - used).Seconds(), what+"-cpu-s/op")
			lap, used = time.Now(), cpu(b)
		}
		i, err := r.Backup(b.Context(), "one", backup.Source{Dir: dir, Meta: meta("a")}, nil)
		if err != nil {
			b.Fatal(err)
		}
		measure("first")
		b.ReportMetric(float64(i.Stored)/(1<<20), "first-MiB")
		if err := r.Readback(b.Context(), "one", nil); err != nil {
			b.Fatal(err)
		}
		measure("readback")
		if _, err := r.Commit(b.Context(), "one"); err != nil {
			b.Fatal(err)
		}
		appendTo(b, filepath.Join(dir, "blocks/blocks.log"), noise(uint64(time.Now().UnixNano()), *benchScale<<20/50))
		sparse(b, filepath.Join(dir, "state/shared_memory.bin"), int64(*benchScale)<<19, map[int64][]byte{0: noise(uint64(time.Now().UnixNano()), 1<<18)})
		lap, used = time.Now(), cpu(b)
		if i, err = r.Backup(b.Context(), "two", backup.Source{Dir: dir, Meta: meta("a"), Bases: []string{"one"}}, nil); err != nil {
			b.Fatal(err)
		}
		measure("second")
		b.ReportMetric(float64(i.Stored)/(1<<20), "second-MiB")
		if _, err := r.Commit(b.Context(), "two"); err != nil {
			b.Fatal(err)
		}
		lap, used = time.Now(), cpu(b)
		if err := r.Verify(b.Context(), "two", nil); err != nil {
			b.Fatal(err)
		}
		measure("verify")
		if _, err := r.Restore(b.Context(), "two", filepath.Join(at, "restored"), nil); err != nil {
			b.Fatal(err)
		}
		measure("restore")
		if err := os.RemoveAll(at); err != nil {
			b.Fatal(err)
		}
	}
}
