package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// tool is a way of keeping the folder. Its functions are called in turns with those of the others.
type tool struct {
	name    string
	target  string // its folder; new in each round
	prepare func(context.Context, *bench) (usage, error)
	backup  func(context.Context, *bench) (usage, error)
	proof   func(context.Context, *bench) (usage, error) // what makes a backup one that may be relied upon
	restore func(ctx context.Context, b *bench, into string) (usage, error)
}

// install gets what is missing from Debian, if it may.
func (b *bench) install(ctx context.Context) error {
	packages := map[string]string{"restic": "restic", "rsync": "rsync", "zstd": "zstd", "borg": "borgbackup", "tar": "tar"}
	var missing []string
	for program, name := range packages {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 || os.Geteuid() != 0 {
		return nil
	}
	env := []string{"DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"}
	if _, _, err := execute(ctx, "/", "", env, "apt-get", "update", "-qq"); err != nil {
		return err
	}
	_, _, err := execute(ctx, "/", "", env, "apt-get", append([]string{"install", "-y", "-qq", "--no-install-recommends"}, missing...)...)
	return err
}

// tools are those that are there, or that are asked for.
func (b *bench) tools(only string) ([]*tool, error) {
	all := []struct {
		program string
		tool    *tool
	}{
		{"", ours("roundtable", false)}, {"", ours("roundtable+age", true)}, {"restic", restic()}, {"borg", borg()}, {"zstd", tar()}, {"rsync", rsync()},
	}
	var chosen []*tool
	for _, t := range all {
		if only != "" && !slices.Contains(strings.Split(only, ","), t.tool.name) {
			continue
		}
		if t.program != "" {
			if _, err := exec.LookPath(t.program); err != nil {
				fmt.Fprintf(os.Stderr, "%s is not there\n", t.program)
				continue
			}
		}
		chosen = append(chosen, t.tool)
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no tool is called %q", only)
	}
	return chosen, nil
}

func restic() *tool {
	t := &tool{name: "restic"}
	run := func(ctx context.Context, dir string, args ...string) (usage, error) {
		env := []string{"RESTIC_PASSWORD=x", "RESTIC_REPOSITORY=" + filepath.Join(t.target, "repository"), "RESTIC_CACHE_DIR=" + filepath.Join(filepath.Dir(t.target), "restic-cache")}
		_, u, err := execute(ctx, dir, "", env, "restic", append([]string{"--quiet"}, args...)...)
		return u, err
	}
	t.prepare = func(ctx context.Context, b *bench) (usage, error) { return run(ctx, b.dir, "init") }
	t.backup = func(ctx context.Context, b *bench) (usage, error) { return run(ctx, b.source, "backup", ".") }
	t.restore = func(ctx context.Context, b *bench, into string) (usage, error) {
		return run(ctx, b.dir, "restore", "latest", "--target", into)
	}
	return t
}

func borg() *tool {
	t := &tool{name: "borg"}
	count := 0
	run := func(ctx context.Context, dir string, args ...string) (usage, error) {
		env := []string{"BORG_REPO=" + filepath.Join(t.target, "repository"), "BORG_BASE_DIR=" + filepath.Join(filepath.Dir(t.target), "borg-base"), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes"}
		_, u, err := execute(ctx, dir, "", env, "borg", args...)
		return u, err
	}
	t.prepare = func(ctx context.Context, b *bench) (usage, error) {
		_ = os.RemoveAll(filepath.Join(filepath.Dir(t.target), "borg-base"))
		return run(ctx, b.dir, "init", "-e", "none")
	}
	t.backup = func(ctx context.Context, b *bench) (usage, error) {
		count++
		return run(ctx, b.source, "create", "-C", "zstd,1", fmt.Sprintf("::%d", count), ".")
	}
	t.restore = func(ctx context.Context, _ *bench, into string) (usage, error) {
		if err := os.MkdirAll(into, 0o700); err != nil {
			return usage{}, err
		}
		return run(ctx, into, "extract", "--sparse", fmt.Sprintf("::%d", count))
	}
	return t
}

// tar keeps the last two archives.
func tar() *tool {
	t := &tool{name: "tar -S|zstd -1"}
	count := 0
	at := func() string { return filepath.Join(t.target, fmt.Sprintf("%d.tar.zst", count)) }
	t.backup = func(ctx context.Context, b *bench) (usage, error) {
		count++
		_, u, err := execute(ctx, b.source, "", nil, "sh", "-c", "tar -S -cf - . | zstd -1 -q -o '"+at()+"'")
		return u, err
	}
	t.restore = func(ctx context.Context, _ *bench, into string) (usage, error) {
		if err := os.MkdirAll(into, 0o700); err != nil {
			return usage{}, err
		}
		_, u, err := execute(ctx, into, "", nil, "sh", "-c", "zstd -dcq '"+at()+"' | tar -S -xf -")
		return u, err
	}
	return t
}

func rsync() *tool {
	t := &tool{name: "rsync"}
	t.backup = func(ctx context.Context, b *bench) (usage, error) {
		_, u, err := execute(ctx, b.dir, "", nil, "rsync", "-aS", "--delete", b.source+"/", t.target+"/")
		return u, err
	}
	t.restore = func(ctx context.Context, b *bench, into string) (usage, error) {
		_, u, err := execute(ctx, b.dir, "", nil, "rsync", "-aS", t.target+"/", into+"/")
		return u, err
	}
	return t
}
