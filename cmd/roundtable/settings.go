package main

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"roundtable/api"
)

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "The settings that the cluster has in common", Args: cobra.NoArgs, Example: "roundtable config get\nroundtable config set slots=6",
		Long: "Settings that all members agree on. What is a member's own stands in its config.toml.",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.configGetCommand(), a.configSetCommand())
	return cmd
}

// setting is one key of GET /cluster/config.
type setting struct{ key, value string }

func settingsOf(c api.ClusterConfig) []setting {
	return []setting{
		{"cluster", c.Cluster}, {"chain_id", c.ChainID}, {"producers", strings.Join(c.Producers, ",")}, {"slots", strconv.FormatUint(c.Slots, 10)},
		{"maintenance", strconv.FormatBool(c.Maintenance)},
	}
}

func (a *app) configGetCommand() *cobra.Command {
	return a.asks(&cobra.Command{
		Use: "get [KEY]", Short: "Show the cluster's settings, or the value of one", Args: cobra.MaximumNArgs(1),
		ValidArgs: []string{"cluster", "chain_id", "producers", "slots", "maintenance"}, Example: "roundtable config get\nroundtable config get slots",
		RunE: func(cmd *cobra.Command, args []string) error {
			var c api.ClusterConfig
			raw, err := a.call(cmd.Context(), http.MethodGet, "/cluster/config", nil, &c)
			if err != nil {
				return err
			}
			list := settingsOf(c)
			if len(args) == 0 {
				return a.show(raw, func(w *printer) {
					for _, s := range list {
						w.line("%-12s%s", s.key, dash(s.value))
					}
				})
			}
			for _, s := range list {
				if s.key == args[0] {
					value, err := json.Marshal(s.value)
					if err != nil {
						return err
					}
					return a.show(value, func(w *printer) { w.line("%s", s.value) })
				}
			}
			return unknownSetting(args[0])
		},
	})
}

func unknownSetting(key string) error {
	return usagef("there are: cluster, chain_id, producers, slots, maintenance", "no setting %q", key)
}

func (a *app) configSetCommand() *cobra.Command {
	return a.asks(&cobra.Command{
		Use: "set KEY=VALUE...", Short: "Change settings of the cluster", Args: cobra.MinimumNArgs(1),
		Long: "Changes settings of the cluster, all at once or none. Needs the role admin.\n\n" +
			"  producers   the producer accounts that the cluster signs for, with commas between\n" +
			"  slots       how far past the slot now the lease reaches: more survive a longer election, and cost more slots when a holder dies",
		Example: "roundtable config set slots=6\nroundtable config set producers=alice,bob", ValidArgs: []string{"producers=", "slots="},
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{}
			for _, arg := range args {
				key, value, ok := strings.Cut(arg, "=")
				if _, twice := body[key]; twice {
					return usagef("", "%s is set twice", key)
				}
				switch {
				case !ok:
					return usagef("such as: roundtable config set slots=6", "%q is not KEY=VALUE", arg)
				case key == "producers":
					body[key] = strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
				case key == "slots":
					n, err := strconv.ParseUint(value, 10, 32)
					if err != nil {
						return usagef("such as slots=6", "slots must be a number, not %q", value)
					}
					body[key] = n
				case key == "maintenance":
					return usagef("roundtable maintenance on|off does", "config set does not change maintenance")
				case key == "cluster" || key == "chain_id":
					return usagef("they are the cluster's identity", "%s cannot be changed", key)
				default:
					return unknownSetting(key)
				}
			}
			var v api.ConfigSet
			return a.change(cmd.Context(), http.MethodPatch, "/cluster/config", body, &v, func(w *printer) {
				for _, s := range settingsOf(v.Config) {
					if _, ok := body[s.key]; ok {
						w.line("%-12s%s", s.key, dash(s.value))
					}
				}
			})
		},
	})
}
