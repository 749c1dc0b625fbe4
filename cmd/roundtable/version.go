package main

import (
	"encoding/json"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"roundtable/api"
	"roundtable/fsm"
)

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "version", Short: "The version of this program", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := api.Version{Version: version, Go: runtime.Version(), EntryVersion: fsm.EntryVersion}
			raw, err := json.Marshal(v)
			if err != nil {
				return err
			}
			return a.show(raw, func(w io.Writer) {
				printf(w, "roundtable %s, built with %s, log entries up to version %d", v.Version, v.Go, v.EntryVersion)
			})
		},
	}
	cmd.Flags().StringVar(&a.output, "output", "table", "table, json or yaml")
	cmd.PreRunE = func(*cobra.Command, []string) error { return a.prepare() }
	return cmd
}
