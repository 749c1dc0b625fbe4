// Command backup measures the backup engine beside what Debian has: restic, borg, tar and zstd, rsync. It lays out a data folder as a
// node has one, and lets each of them back it up, back it up again after a little has changed, and restore it, in turns: figures, not
// a test. Read main.go first, then folder.go (what is backed up), tools.go (the others) and ours.go.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"roundtable/backup/worker"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "worker" { // this program is a worker as `roundtable worker` is one
		os.Exit(work())
	}
	if len(os.Args) > 3 && os.Args[1] == "measure" {
		measure(os.Args[2], os.Args[3:])
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// work is a worker, with a profile of its processor time for each job if ROUNDTABLE_BENCH_PROFILE names a folder.
func work() int {
	if dir := os.Getenv("ROUNDTABLE_BENCH_PROFILE"); dir != "" {
		f, err := os.CreateTemp(dir, "*.prof")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer pprof.StopCPUProfile()
	}
	if worker.Run(context.Background(), os.Stdin, os.Stdout) != nil {
		return 1
	}
	return 0
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	mib := flag.Int("mib", 1024, "MiB of blocks; half as much state, of which a sixteenth is no hole, and as much in small files")
	rounds := flag.Int("rounds", 3, "how often")
	dir := flag.String("dir", "", "where all of it is written; a new folder in /var/tmp if empty. Not a tmpfs")
	only := flag.String("only", "", "names of tools, with commas; all if empty")
	flag.Parse()
	if *dir == "" {
		made, err := os.MkdirTemp("/var/tmp", "roundtable-bench-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(made) }()
		*dir = made
	}
	b := &bench{dir: *dir, source: filepath.Join(*dir, "source"), figures: map[string]map[string][]float64{}}
	if err := b.install(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "not everything could be installed:", err)
	}
	tools, err := b.tools(*only)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "laying out %d MiB of blocks and the rest in %s\n", *mib, b.source)
	node, err := layOut(b.source, *mib)
	if err != nil {
		return err
	}
	b.node = node
	for round := range *rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, *rounds)
		if err := b.round(ctx, tools); err != nil {
			return err
		}
	}
	b.report(os.Stdout, tools)
	return nil
}

// bench is one run of the program.
type bench struct {
	dir, source string
	node        *node
	figures     map[string]map[string][]float64 // what was measured -> tool -> one for each round
}

func (b *bench) note(what, tool string, value float64) {
	if b.figures[what] == nil {
		b.figures[what] = map[string][]float64{}
	}
	b.figures[what][tool] = append(b.figures[what][tool], value)
	fmt.Fprintf(os.Stderr, "  %-14s %-34s %.2f\n", tool, what, value)
}

// What is measured.
const (
	first     = "first backup, s"
	again     = "after a change, s"
	scattered = "after a scattered change, s"
	restored  = "restore, s"
	size      = "stored by the first, MiB"
	grown     = "stored for the change, MiB"
	grown2    = "stored for the scattered one, MiB"
	memory    = "most memory, MiB"
	blocks    = "disk of the restored state, MiB"
	proof     = "reading back and committing, s"
)

// cores is what is measured beside a time: the processors' time for it.
func cores(time string) string { return strings.TrimSuffix(time, ", s") + ", processor s" }

// round lets every tool do everything once, in turns, and then clears up.
func (b *bench) round(ctx context.Context, tools []*tool) error {
	targets := filepath.Join(b.dir, "targets")
	if err := os.RemoveAll(targets); err != nil {
		return err
	}
	for _, t := range tools {
		t.target = filepath.Join(targets, t.name)
		if err := os.MkdirAll(t.target, 0o700); err != nil {
			return err
		}
		if t.prepare != nil {
			if _, err := t.prepare(ctx, b); err != nil {
				return fmt.Errorf("%s: prepare: %w", t.name, err)
			}
		}
	}
	if err := b.node.warm(); err != nil {
		return err
	}
	stored := map[*tool]int64{}
	turn := func(time, bytes string, do func(t *tool) (usage, error)) error {
		for _, t := range tools {
			unix.Sync() // nobody pays for what another has left to write
			u, err := do(t)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", t.name, time, err)
			}
			b.note(time, t.name, u.seconds)
			b.note(cores(time), t.name, u.cpu)
			b.note(memory, t.name, u.rss)
			if bytes == "" {
				continue
			}
			now, err := apparent(t.target)
			if err != nil {
				return err
			}
			b.note(bytes, t.name, float64(now-stored[t])/(1<<20))
			stored[t] = now
			if t.proof != nil {
				u, err := t.proof(ctx, b)
				if err != nil {
					return fmt.Errorf("%s: proof: %w", t.name, err)
				}
				b.note(proof, t.name, u.seconds)
				b.note(cores(proof), t.name, u.cpu)
				b.note(memory, t.name, u.rss)
				if stored[t], err = apparent(t.target); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := turn(first, size, func(t *tool) (usage, error) { return t.backup(ctx, b) }); err != nil {
		return err
	}
	if err := b.change(ctx, false); err != nil {
		return err
	}
	if err := turn(again, grown, func(t *tool) (usage, error) { return t.backup(ctx, b) }); err != nil {
		return err
	}
	if err := b.change(ctx, true); err != nil {
		return err
	}
	if err := turn(scattered, grown2, func(t *tool) (usage, error) { return t.backup(ctx, b) }); err != nil {
		return err
	}
	into := filepath.Join(b.dir, "restored")
	defer func() { _ = os.RemoveAll(into) }()
	return turn(restored, "", func(t *tool) (usage, error) {
		if err := os.RemoveAll(into); err != nil {
			return usage{}, err
		}
		u, err := t.restore(ctx, b, into)
		if err != nil {
			return u, err
		}
		found, err := b.node.compare(into)
		if err != nil {
			return u, err
		}
		b.note(blocks, t.name, float64(found)/(1<<20))
		return u, nil
	})
}

// change alters the folder, and notes what zstd -1 makes of what is new.
func (b *bench) change(ctx context.Context, scattered bool) error {
	news, err := b.node.change(scattered)
	if err != nil {
		return err
	}
	zstd := exec.CommandContext(ctx, "zstd", "-1", "-c", "-q")
	zstd.Stdin = strings.NewReader(string(news))
	out, err := zstd.Output()
	if err != nil {
		return fmt.Errorf("zstd: %w", err)
	}
	what := grown
	if scattered {
		what = grown2
	}
	b.note(what, "the new bytes", float64(len(out))/(1<<20))
	b.node.settle()
	return nil
}
