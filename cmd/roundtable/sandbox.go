package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"roundtable/drill"
)

// sandboxCommand is `roundtable sandbox`.
func sandboxCommand() *cobra.Command {
	var o drill.Options
	var demo bool
	var idle, length time.Duration
	c := &cobra.Command{
		Use:   "sandbox",
		Short: "Run a whole cluster on this machine, loopback only",
		Long: `Run a whole cluster on this machine, loopback only: managers, each with its node, one producer on every slot (the hardest
case: there is no gap to hide in). Ends at ^C, or after --for.

--demo shows the main job and ends by itself: two handoffs, a SIGKILL of the holder's manager and node, and the verdict
of the nodes' own ledgers. Exit code 0 only if nothing was signed twice, each handoff missed 0 slots and the kill at most 6.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			keep := o.Dir != ""
			o.Versions = true
			s, err := drill.NewSandbox(o)
			if err != nil {
				return err
			}
			switch {
			case demo:
				err = s.Demo(ctx, cmd.OutOrStdout())
			case idle > 0:
				err = s.MeasureIdle(ctx, cmd.OutOrStdout(), idle)
			default:
				err = s.Show(ctx, cmd.OutOrStdout(), length)
			}
			if !keep && (err == nil || errors.Is(err, context.Canceled)) {
				return errors.Join(err, os.RemoveAll(s.Dir))
			}
			fmt.Fprintf(cmd.OutOrStdout(), "logs and ledgers are left in %s\n", s.Dir)
			return err
		},
	}
	sandboxFlags(c, &o)
	c.Flags().BoolVar(&demo, "demo", false, "show the main job and end")
	c.Flags().DurationVar(&idle, "bench-idle", 0, "measure what one idle manager costs for so long, and end")
	c.Flags().DurationVar(&length, "for", 0, "end after so long (default: at ^C)")
	return c
}

// interruptible is the command's context, ended by a signal as well.
func interruptible(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
}
