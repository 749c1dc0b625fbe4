package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"roundtable/drill"
)

// drillReportCommand is `roundtable drill report FILE...`.
func drillReportCommand() *cobra.Command {
	var markdown bool
	c := &cobra.Command{
		Use:   "report FILE...",
		Short: "Show the reports that drills wrote with --json, as one table",
		Args:  cobra.MinimumNArgs(1), Example: "roundtable drill report bin/drills/*.json --markdown",
		RunE: func(cmd *cobra.Command, files []string) error {
			var reports []drill.Report
			for _, file := range files {
				list, err := readReports(file)
				if err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
				reports = append(reports, list...)
			}
			if !markdown {
				drill.WriteTable(cmd.OutOrStdout(), reports)
			} else if err := drill.WriteMarkdown(cmd.OutOrStdout(), reports); err != nil {
				return err
			}
			if slices.ContainsFunc(reports, func(r drill.Report) bool { return !r.Passed() }) {
				return errDrill
			}
			return nil
		},
	}
	c.Flags().BoolVar(&markdown, "markdown", false, "as a table for a page")
	return c
}

func readReports(file string) ([]drill.Report, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return drill.ReadJSON(f)
}
