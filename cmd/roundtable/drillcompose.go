package main

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"roundtable/drill"
)

// drillComposeCommand is `roundtable drill compose`.
func drillComposeCommand() *cobra.Command {
	var o drill.Compose
	var file string
	c := &cobra.Command{
		Use:   "compose",
		Short: "Prove it in real containers: docker-compose.yml under a project of its own",
		Long: `Start the cluster of docker-compose.yml in containers, under a project of its own and on free ports, and do to it what happens
to machines: a handoff over TLS with a token, docker kill of the holder, docker network disconnect of the next one, and
a restart of each. Then count from the nodes' ledgers, the chains and the raft logs, and remove everything.

The image is the one that "make image" makes. Needed: a Docker engine, and docker compose or docker-compose.
Exit code 0 if nothing was signed twice, handoff and restarts missed no slot, and kill and disconnect at most 7 each.`,
		Args: cobra.NoArgs, Example: "roundtable drill compose --json compose.json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			r, err := drill.RunCompose(ctx, o, cmd.OutOrStdout())
			if file != "" && len(r.Events) > 0 {
				if failed := writeReport(file, r.WriteJSON); failed != nil {
					return failed
				}
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&o.File, "file", "docker-compose.yml", "the compose file")
	f.StringVar(&o.Image, "image", "roundtable:local", "of the managers; it is not pulled")
	f.StringVar(&o.Project, "project", "", "compose's project (default: a new name)")
	f.StringVar(&o.Dir, "dir", "", "keep logs and ledgers here (default: only where something was not in order)")
	f.StringVar(&file, "json", "", "write the report to this file as well")
	return c
}

// drillChainCommand is `roundtable drill chain`: what the checker reads of a node that only its own container can ask.
func drillChainCommand() *cobra.Command {
	var node string
	var from uint32
	c := &cobra.Command{
		Use: "chain", Short: "Read a node's chain, as JSON: the blocks that the checker counts", Args: cobra.NoArgs, Example: "roundtable drill chain --node http://127.0.0.1:8888",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			chain, err := drill.ReadChain(ctx, &http.Client{Timeout: 10 * time.Second}, node, from)
			if err != nil {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(chain)
		},
	}
	c.Flags().StringVar(&node, "node", "http://127.0.0.1:8888", "URL of nodeos' HTTP API")
	c.Flags().Uint32Var(&from, "from", 2, "the first block; 1 is the genesis")
	return c
}
