// Command baseline runs one member of one of the usual ways of keeping a producer running, to compare Roundtable with:
// `baseline leader|keepalived --config FILE.json`. See package baseline.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"roundtable/test/baseline"
)

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

// run returns the exit code: 0 after an ordered stop, 1 for a failure, 2 for wrong usage.
func run(args []string, errs io.Writer) int {
	flags := flag.NewFlagSet("baseline", flag.ContinueOnError)
	flags.SetOutput(errs)
	file := flags.String("config", "", "the member's configuration")
	if len(args) == 0 || args[0] != baseline.Leader && args[0] != baseline.Keepalived {
		fmt.Fprintln(errs, "usage: baseline leader|keepalived --config FILE.json")
		return 2
	}
	if err := flags.Parse(args[1:]); err != nil {
		return 2
	}
	cfg, err := baseline.Load(*file)
	if err != nil {
		fmt.Fprintln(errs, err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := baseline.Run(ctx, args[0], cfg, errs); err != nil {
		fmt.Fprintln(errs, err)
		return 1
	}
	return 0
}
