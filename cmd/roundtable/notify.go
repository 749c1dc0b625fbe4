package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"roundtable/pulse"
)

// service is what the service manager is told of: a running manager (manager.Live).
type service interface {
	Check(ctx context.Context) error
	Line() string
}

// statusEvery is how often the status line is looked at; it is sent when it changed.
const statusEvery = time.Second

// notify tells the service manager. It costs nothing where there is none; one that does not listen is no reason to stop.
func notify(format string, args ...any) {
	_, _ = daemon.SdNotify(false, fmt.Sprintf(format, args...))
}

// notifyStopping says that the end was asked for, and how long it may take: a handoff, and a node that writes its state to
// the disk. The unit's own limit may be shorter.
func notifyStopping(bound time.Duration) {
	notify("%s\nSTATUS=stopping: hands production over, then stops the node\nEXTEND_TIMEOUT_USEC=%d", daemon.SdNotifyStopping, bound.Microseconds())
}

// notifyRunning says that the manager serves, and from then on, until ctx ends, what it does and that it lives. It waits for
// what it started.
func notifyRunning(ctx context.Context, log *slog.Logger, s service) {
	line := s.Line()
	if sent, _ := daemon.SdNotify(false, daemon.SdNotifyReady+"\nSTATUS="+line); !sent {
		return
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		watchdog(ctx, log, s)
	}()
	defer func() { <-watched }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(pulse.Next(statusEvery))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if now := s.Line(); now != line {
			line = now
			notify("STATUS=%s", line)
		}
	}
}

// watchdog tells the service manager that this process does its work, four times in the interval in which it must hear it,
// and says nothing while it does not: then the process is ended and started anew. A check that hangs is silence, too.
func watchdog(ctx context.Context, log *slog.Logger, s service) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		if err != nil {
			log.Warn("no watchdog: its interval is not understood", "err", err)
		}
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	silent := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(interval / 4)
		err := s.Check(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			silent = false
			notify(daemon.SdNotifyWatchdog)
		case !silent:
			silent = true
			log.Error("the watchdog is not answered: this process does not do its work", "err", err, "killed_in", interval)
		}
	}
}
