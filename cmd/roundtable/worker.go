package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"roundtable/backup/worker"
)

// workerCommand is the child process of a manager that does one job on a repository: see package worker. Its error was told on stdout.
func (a *app) workerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "worker", Short: "Do one job on a repository, for a manager", Hidden: true, Args: cobra.NoArgs,
		Long: "Reads one job as JSON from stdin and tells of it in JSON lines on stdout. It is started by a manager, at low priority, and ends with it.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return worker.Run(ctx, a.stdin, a.stdout)
		},
	}
}
