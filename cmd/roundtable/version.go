package main

import (
	"context"
	"encoding/json"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"roundtable/api"
	"roundtable/fsm"
)

// versionTime is how long the version of a server is waited for.
const versionTime = 2 * time.Second

// versions are this program's and that of the manager which answers.
type versions struct {
	Client api.Version  `json:"client"`
	Server *api.Version `json:"server,omitempty"`
	Error  string       `json:"error,omitempty"` // why there is no server's
}

func (a *app) versionCommand() *cobra.Command {
	alone := false
	cmd := a.asks(&cobra.Command{
		Use: "version", Short: "The version of this program, and of the manager that answers", Args: cobra.NoArgs,
		Long:    "Shows the version of this program and of the manager that answers. That none answers is no failure.",
		Example: "roundtable version\nroundtable version --client",
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versions{Client: api.Version{Version: version, Go: runtime.Version(), EntryVersion: fsm.EntryVersion}}
			if !alone {
				ctx, cancel := context.WithTimeout(cmd.Context(), versionTime)
				defer cancel()
				var server api.Version
				if _, err := a.call(ctx, http.MethodGet, "/version", nil, &server); err != nil {
					v.Error = scrub(err.Error())
				} else {
					v.Server = &server
				}
			}
			raw, err := json.Marshal(v)
			if err != nil {
				return err
			}
			return a.show(raw, func(w *printer) {
				w.line("client    %s", versionLine(v.Client))
				switch {
				case v.Server != nil:
					w.line("server    %s", versionLine(*v.Server))
				case v.Error != "":
					w.para("", "server    ", v.Error)
				}
			})
		},
	})
	cmd.Flags().BoolVar(&alone, "client", false, "ask no server")
	return cmd
}

func versionLine(v api.Version) inked {
	return inked{"", "roundtable " + v.Version + ", built with " + v.Go + ", log entries up to version " + strconv.FormatUint(uint64(v.EntryVersion), 10)}
}
