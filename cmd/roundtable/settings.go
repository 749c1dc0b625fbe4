package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"roundtable/api"
	"roundtable/fsm"
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
		{"maintenance", strconv.FormatBool(c.Maintenance)}, {"overlay", c.Overlay}, {"take_over", strconv.FormatBool(c.TakeOver)},
	}
}

// print shows a setting; one of several lines below its key.
func (s setting) print(w *printer) {
	lines := strings.Split(strings.TrimRight(s.value, "\n"), "\n")
	if s.key != "overlay" || s.value == "" {
		w.line("%-12s%s", s.key, dash(s.value))
		return
	}
	w.line("%s", s.key)
	for _, l := range lines {
		w.line("    %s", l)
	}
}

// printRollout says whether the overlay is with all nodes, and which nodes wait.
func printRollout(w *printer, c api.ClusterConfig) {
	switch {
	case len(c.Waiting) > 0:
		w.line("%s", yellow("a rollout of the configuration is due on "+strings.Join(c.Waiting, ", ")+"; see: roundtable operations"))
	case c.Pending:
		w.line("%s", yellow("the overlay is not with all nodes yet: a few seconds after the last change a rollout begins by itself, unless "+
			"this one failed before; see: roundtable operations"))
	}
}

func (a *app) configGetCommand() *cobra.Command {
	return a.asks(&cobra.Command{
		Use: "get [KEY]", Short: "Show the cluster's settings, or the value of one", Args: cobra.MaximumNArgs(1),
		ValidArgs: settingKeys, Example: "roundtable config get\nroundtable config get slots",
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
						s.print(w)
					}
					printRollout(w, c)
				})
			}
			for _, s := range list {
				if s.key == args[0] {
					value, err := json.Marshal(s.value)
					if err != nil {
						return err
					}
					return a.show(value, func(w *printer) {
						for _, l := range strings.Split(strings.TrimRight(s.value, "\n"), "\n") {
							w.line("%s", l)
						}
					})
				}
			}
			return unknownSetting(args[0])
		},
	})
}

// settingKeys are the keys of config get.
var settingKeys = []string{"cluster", "chain_id", "producers", "slots", "maintenance", "overlay", "take_over"}

func unknownSetting(key string) error {
	return usagef("there are: "+strings.Join(settingKeys, ", "), "no setting %q", key)
}

func (a *app) configSetCommand() *cobra.Command {
	overlay, takeOver := "", false
	cmd := a.asks(&cobra.Command{
		Use: "set [KEY=VALUE...]", Short: "Change settings of the cluster",
		Long: "Changes settings of the cluster, all at once or none. Needs the role admin.\n\n" +
			"  producers   the producer accounts that the cluster signs for, with commas between\n" +
			"  slots       how far past the slot now the lease reaches: more survive a longer election, and cost more slots when a holder dies\n" +
			"  --overlay   lines of config.ini for every node, laid over its own template; a rollout brings them to the nodes, one by one\n" +
			"  --take-over after a rollout the member whose node was restarted last takes production over",
		Example: "roundtable config set slots=6\nroundtable config set producers=alice,bob\nroundtable config set --overlay overlay.ini\nroundtable config set --take-over=false", ValidArgs: []string{"producers=", "slots="},
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := settingsBody(args)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("overlay") {
				if body["overlay"], err = a.readOverlay(overlay); err != nil {
					return err
				}
			}
			if cmd.Flags().Changed("take-over") {
				body["take_over"] = takeOver
			}
			if len(body) == 0 {
				return usagef("such as: roundtable config set slots=6", "nothing to set is named")
			}
			var v api.ConfigSet
			return a.change(cmd.Context(), http.MethodPatch, "/cluster/config", body, &v, func(w *printer) {
				for _, s := range settingsOf(v.Config) {
					if _, ok := body[s.key]; ok {
						s.print(w)
					}
				}
				if _, ok := body["overlay"]; ok {
					printRollout(w, v.Config)
				}
			})
		},
	})
	cmd.Flags().StringVar(&overlay, "overlay", "", "`FILE` with lines of config.ini for every node, - for stdin; an empty one ends the overlay")
	cmd.Flags().BoolVar(&takeOver, "take-over", false, "after a rollout the member that was restarted last takes production over")
	return cmd
}

// settingsBody reads KEY=VALUE arguments.
func settingsBody(args []string) (map[string]any, error) {
	body := map[string]any{}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if _, twice := body[key]; twice {
			return nil, usagef("", "%s is set twice", key)
		}
		switch {
		case !ok:
			return nil, usagef("such as: roundtable config set slots=6", "%q is not KEY=VALUE", arg)
		case key == "producers":
			body[key] = strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
		case key == "slots":
			n, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return nil, usagef("such as slots=6", "slots must be a number, not %q", value)
			}
			body[key] = n
		case key == "overlay":
			return nil, usagef("roundtable config set --overlay FILE", "the overlay is read from a file")
		case key == "take_over":
			return nil, usagef("roundtable config set --take-over, or --take-over=false", "take_over is a flag")
		case key == "maintenance":
			return nil, usagef("roundtable maintenance on|off does", "config set does not change maintenance")
		case key == "cluster" || key == "chain_id":
			return nil, usagef("they are the cluster's identity", "%s cannot be changed", key)
		default:
			return nil, unknownSetting(key)
		}
	}
	return body, nil
}

// readOverlay reads the lines of an overlay; its end of line is the plain one.
func (a *app) readOverlay(file string) (string, error) {
	in := a.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", usagef("a file with lines of config.ini", "--overlay: %v", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, fsm.MaxOverlay+1)) // the server says that it is too long
	if err != nil {
		return "", usagef("a file with lines of config.ini", "--overlay: %v", err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n"), nil
}
