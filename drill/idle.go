package drill

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MeasureIdle prints what each manager costs while nothing happens but a live lease: share of one core, and resident
// memory, from /proc.
func (s *Sandbox) MeasureIdle(ctx context.Context, w io.Writer, length time.Duration) error {
	return s.up(ctx, func(d *drill) error {
		if err := wait(ctx, 10*time.Second); err != nil { // starting costs more
			return err
		}
		type cost struct{ ticks, rss int }
		look := func() ([]cost, error) {
			var list []cost
			for _, m := range s.Members {
				ticks, rss, err := usage(m.process.cmd.Process.Pid)
				if err != nil {
					return nil, err
				}
				list = append(list, cost{ticks, rss})
			}
			return list, nil
		}
		before, err := look()
		if err != nil {
			return err
		}
		since := time.Now()
		if err := wait(ctx, length); err != nil {
			return err
		}
		now, err := look()
		if err != nil {
			return err
		}
		o, err := d.Overview(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "one idle manager, over %s (the target is at most 1%% of a core and 64 MiB):\n", time.Since(since).Round(time.Second))
		for i, m := range s.Members {
			role := "standby"
			if m.ID == o.Holder() {
				role = "holder"
			}
			if m.ID == o.Leader {
				role += ", leader"
			}
			share := 100 * float64(now[i].ticks-before[i].ticks) / ticksPerSecond / time.Since(since).Seconds()
			fmt.Fprintf(w, "  %s  %5.2f %% of a core  %5.1f MiB resident  (%s)\n", m.ID, share, float64(now[i].rss)/(1<<20), role)
		}
		return nil
	})
}

// ticksPerSecond is USER_HZ, which Linux fixes at 100 for /proc on every architecture that matters here.
const ticksPerSecond = 100

// usage reads a process's CPU time in ticks and its resident memory in bytes.
func usage(pid int) (ticks, rss int, err error) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, 0, fmt.Errorf("drill: %w", err)
	}
	fields := strings.Fields(string(stat[slices.Index(stat, ')')+1:]))
	if len(fields) < 22 {
		return 0, 0, fmt.Errorf("drill: /proc/%d/stat has %d fields", pid, len(fields))
	}
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	pages, err3 := strconv.Atoi(fields[21])
	if err1 != nil || err2 != nil || err3 != nil {
		return 0, 0, fmt.Errorf("drill: /proc/%d/stat is not as expected", pid)
	}
	return user + system, pages * os.Getpagesize(), nil
}
