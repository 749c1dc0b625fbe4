package sim

import (
	"time"

	"golang.org/x/sys/unix"
)

// space is what resource_monitor_plugin compares, in GiB of the file system that holds the data directory.
type space struct{ capacity, available, threshold uint64 }

func (n *Node) space() (s space, ok bool) {
	var st unix.Statfs_t
	if unix.Statfs(n.dirs.data, &st) != nil {
		return s, false
	}
	s.capacity, s.available = st.Blocks*uint64(st.Bsize)>>30, st.Bavail*uint64(st.Bsize)>>30
	percent := n.opts.num("resource-monitor-space-threshold")
	s.threshold = s.capacity * uint64(100-percent) / 100
	return s, true
}

func (n *Node) spaceLines() {
	s, _ := n.space()
	for i, dir := range []string{n.dirs.blocks, n.dirs.reversible, n.dirs.state, n.dirs.snapshots, n.dirs.data, n.dirs.snapshots, n.dirs.blocks, n.dirs.state} {
		n.say(site{"file_space_handler.hpp", 123, "add_file_system"}, "%s's file system to be monitored", dir)
		if i == 0 {
			n.say(site{"file_space_handler.hpp", 156, "add_file_system"}, "%s's file system monitored. shutdown_available: %d GiB, capacity: %d GiB, threshold: %s%%",
				dir, s.threshold, s.capacity, n.opts.get("resource-monitor-space-threshold"))
		}
	}
}

// watchSpace is resource_monitor_plugin's thread: a full file system ends the process, with exit code 0 (fact 15).
func (n *Node) watchSpace() {
	every := time.Duration(max(n.opts.num("resource-monitor-interval-seconds"), 1)) * time.Second
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			if s, ok := n.space(); ok && n.spaceExceeded(s) {
				n.post(n.quit)
				return
			}
			select {
			case <-tick.C:
			case <-n.ending:
				return
			}
		}
	}()
}

func (n *Node) spaceExceeded(s space) bool {
	at := func(line int, fn string) site { return site{"file_space_handler.hpp", line, cut(fn, 20)} }
	say := func(lv level, at site, format string, args ...any) {
		n.log.logFrom("resmon-0", logDefault, lv, at, format, args...)
	}
	percent := n.opts.num("resource-monitor-space-threshold")
	if s.available < s.threshold {
		say(levelError, at(97, "is_threshold_exceeded"), "Space usage warning: %s's file system exceeded threshold %d%%, available: %d GiB, Capacity: %d GiB, shutdown_available: %d GiB",
			n.dirs.blocks, percent, s.available, s.capacity, s.threshold)
		if n.opts.flag("resource-monitor-not-shutdown-on-threshold-exceeded") {
			return false
		}
		say(levelError, at(163, "space_monitor_loop"), "Gracefully shutting down, exceeded file system configured threshold.")
		return true
	}
	if warning := s.capacity * uint64(100-percent+5) / 100; s.available < warning {
		say(levelWarn, at(105, "is_threshold_exceeded"), "Space usage warning: %s's file system approaching threshold. available: %d GiB, warning_available: %d GiB",
			n.dirs.blocks, s.available, warning)
		say(levelWarn, at(108, "is_threshold_exceeded"), "nodeos will shutdown when space usage exceeds threshold %d%%", percent)
	}
	return false
}
