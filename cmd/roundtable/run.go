package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"roundtable/cmd/roundtable/config"
	"roundtable/manager"
	"roundtable/security"
)

// runCommand is `roundtable run`: one manager with its node.
func runCommand() *cobra.Command {
	var home string
	c := &cobra.Command{
		Use:   "run --home DIR",
		Short: "Run one manager with its node, as configured in DIR/config.toml",
		Long: `Run one manager with its node, as configured in DIR/config.toml (environment ROUNDTABLE_SECTION_KEY over it).

SIGTERM or SIGINT stops it in order: a holder hands production over first, then the node is stopped. A second signal
shortens that. Exit code 0 after an ordered stop, 1 when it could not start or had to give up.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := config.Load(filepath.Join(home, "config.toml"), os.Environ(), nil)
			if err != nil {
				return err
			}
			if !conf.Sandbox { // there the drill looks into the process
				if err := security.NoCoreDumps(); err != nil {
					return err
				}
			}
			oneProcessor()
			return runManager(cmd.Context(), conf, cmd.ErrOrStderr())
		},
	}
	c.Flags().StringVar(&home, "home", ".", "folder that holds config.toml, keys and data")
	return c
}

// oneProcessor keeps the Go runtime from waking a second thread for each little thing, which is most of what an idle manager
// costs; the gate answers faster with it, not slower. The operator's own GOMAXPROCS wins. docs/decisions/0005.
func oneProcessor() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
}

// runManager runs a manager until a signal, telling systemd (where it listens) when it is ready, what it does, that it lives
// and that it stops.
func runManager(parent context.Context, conf *config.Config, logTo io.Writer) error {
	ctx, stop := context.WithCancelCause(parent)
	defer stop(nil)
	hurry, hurryUp := context.WithCancel(context.WithoutCancel(parent))
	defer hurryUp()
	var running atomic.Pointer[manager.Live]
	bound := func() time.Duration {
		if live := running.Load(); live != nil {
			return live.StopBound()
		}
		return manager.StopBound(conf.Node.StopTimeout.D())
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-hurry.Done():
				return
			case s := <-signals:
				if n == 0 {
					stop(fmt.Errorf("signal %s", s))
					notifyStopping(bound())
				} else {
					hurryUp()
				}
			}
		}
	}()
	level := new(slog.LevelVar)
	level.Set(conf.Level())
	log := newLogger(conf, level, logTo)
	var told sync.WaitGroup
	defer told.Wait() // after stop
	defer stop(nil)
	ready := func(live manager.Live) {
		running.Store(&live)
		told.Go(func() { notifyRunning(ctx, log, live) })
	}
	return manager.Run(ctx, hurry, conf, manager.Options{Version: version, Log: log, Level: level, Ready: ready})
}

// newLogger writes what the configuration asks for; to the journal with the level that it reads.
func newLogger(conf *config.Config, level slog.Leveler, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	build := func(w io.Writer) slog.Handler {
		if conf.Manager.LogFormat == "json" {
			return slog.NewJSONHandler(w, o)
		}
		return slog.NewTextHandler(w, o)
	}
	h := build(w)
	if toJournal(w, os.Getenv("JOURNAL_STREAM")) {
		h = newJournalHandler(w, build)
	}
	return slog.New(h).With("member", conf.Manager.ID)
}
