package main

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// shownContext is a context as it is shown: without its token.
type shownContext struct {
	Name    string `json:"name"`
	Current bool   `json:"current"`
	profile
	Token string `json:"token,omitempty"` // where it is
}

func (c *contexts) show(name string) shownContext {
	p := c.Contexts[name]
	s := shownContext{Name: name, Current: name == c.Current, profile: p}
	switch {
	case p.Token != "":
		s.Token = "stored"
	case p.TokenFile != "":
		s.Token = "in " + p.TokenFile
	}
	return s
}

func (a *app) contextCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "context", Short: "Clusters that this user's commands know, by name", Args: cobra.NoArgs,
		Long: "A context is a name for a cluster: its servers, its CA and a token. They stand in $XDG_CONFIG_HOME/roundtable/contexts.toml\n" +
			"(or ~/.config/roundtable), which nobody else may read. Commands use the one that --context or ROUNDTABLE_CONTEXT names, or the\ncurrent one where no server is given.",
		Example: "roundtable context add prod --server https://m1:9080,https://m2:9080 --ca ca.pem --token-file operator.token\nroundtable context use prod",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.contextListCommand(), a.contextShowCommand(), a.contextUseCommand(), a.contextAddCommand(), a.contextRemoveCommand())
	return cmd
}

func (a *app) contextListCommand() *cobra.Command {
	return a.prints(&cobra.Command{
		Use: "list", Short: "List the contexts", Args: cobra.NoArgs, Example: "roundtable context list",
		RunE: func(*cobra.Command, []string) error {
			all, err := a.contexts()
			if err != nil {
				return err
			}
			list := []shownContext{}
			for _, name := range all.names() {
				list = append(list, all.show(name))
			}
			raw, err := json.Marshal(list)
			if err != nil {
				return err
			}
			return a.show(raw, func(w *printer) {
				var rows [][]any
				for _, c := range list {
					current, name := "", any(c.Name)
					if c.Current {
						current, name = "*", bold(c.Name)
					}
					rows = append(rows, []any{current, name, dash(firstOf(strings.Join(c.Servers, ", "), c.Home)), dash(c.CA), dash(c.Token)})
				}
				w.table([]string{"", "name", "where", "ca", "token"}, rows)
			})
		},
	})
}

func (a *app) contextShowCommand() *cobra.Command {
	return a.prints(&cobra.Command{
		Use: "show [NAME]", Short: "Show a context, or the current one; never its token", Args: cobra.MaximumNArgs(1), Example: "roundtable context show prod",
		ValidArgsFunction: a.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := a.contexts()
			if err != nil {
				return err
			}
			name := all.Current
			if len(args) > 0 {
				name = args[0]
			}
			if name == "" {
				return usagef("make one current with: roundtable context use NAME", "no context is current")
			}
			if _, err := all.pick(name); err != nil {
				return err
			}
			c := all.show(name)
			raw, err := json.Marshal(c)
			if err != nil {
				return err
			}
			return a.show(raw, func(w *printer) {
				w.line("context   %s", c.Name)
				for _, s := range c.Servers {
					w.line("server    %s", s)
				}
				if c.Home != "" {
					w.line("home      %s", c.Home)
				}
				w.line("ca        %s", dash(c.CA))
				w.line("token     %s", dash(c.Token))
			})
		},
	})
}

func (a *app) contextUseCommand() *cobra.Command {
	return a.prints(&cobra.Command{
		Use: "use NAME", Short: "Make a context the current one", Args: cobra.ExactArgs(1), Example: "roundtable context use prod",
		ValidArgsFunction: a.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.changeContexts(args[0], "is the current one now", func(all *contexts) error {
				all.Current = args[0]
				_, err := all.pick(args[0])
				return err
			})
		},
	})
}

func (a *app) contextRemoveCommand() *cobra.Command {
	return a.prints(&cobra.Command{
		Use: "remove NAME", Aliases: []string{"rm"}, Short: "Forget a context", Args: cobra.ExactArgs(1), Example: "roundtable context remove old",
		ValidArgsFunction: a.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.changeContexts(args[0], "removed", func(all *contexts) error {
				if _, err := all.pick(args[0]); err != nil {
					return err
				}
				delete(all.Contexts, args[0])
				if all.Current == args[0] {
					all.Current = ""
				}
				return nil
			})
		},
	})
}

// changeContexts changes the file and says so.
func (a *app) changeContexts(name, what string, change func(*contexts) error) error {
	all, err := a.contexts()
	if err != nil {
		return err
	}
	if err := change(all); err != nil {
		return err
	}
	if err := all.save(); err != nil {
		return err
	}
	raw, err := json.Marshal(map[string]string{"context": name, "current": all.Current})
	if err != nil {
		return err
	}
	return a.show(raw, func(w *printer) { w.line("context %s %s", name, what) })
}

func (a *app) contextAddCommand() *cobra.Command {
	use := false
	cmd := a.prints(&cobra.Command{
		Use: "add NAME", Short: "Remember a cluster under a name", Args: cobra.ExactArgs(1),
		Long: "Remembers where a cluster is reached and with what. The first context becomes the current one. --token-file names a file\n" +
			"that is read each time; with --token, or --token-file - (which reads the token from here), the token itself is stored.",
		Example: "roundtable context add prod --server https://m1:9080,https://m2:9080 --ca ca.pem --token-file operator.token\nroundtable context add local --home /srv/roundtable --use",
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := a.newContext(args[0])
			if err != nil {
				return err
			}
			return a.changeContexts(args[0], "added", func(all *contexts) error {
				if _, ok := all.Contexts[args[0]]; ok {
					return usagef("remove it first: roundtable context remove "+args[0], "there is a context %q already", args[0])
				}
				all.Contexts[args[0]] = p
				if use || all.Current == "" {
					all.Current = args[0]
				}
				return nil
			})
		},
	})
	a.reaches(cmd.Flags())
	cmd.Flags().BoolVar(&use, "use", false, "make it the current one")
	return cmd
}

// newContext is what the flags say, checked, with full paths.
func (a *app) newContext(name string) (p profile, err error) {
	f := a.flags
	p = profile{slices.Clone(f.servers), f.home, f.ca, secret(f.token), f.tokenFile}
	switch {
	case !contextName.MatchString(name):
		return p, usagef("letters, digits, dots, dashes and underscores", "%q is no name for a context", name)
	case len(p.Servers) > 0 == (p.Home != ""):
		return p, usagef("--server https://HOST:9080,... or --home DIR", "a context needs its servers, or the home of a manager on this machine")
	case p.Token != "" && p.TokenFile != "":
		return p, usagef("one of them", "--token and --token-file are both given")
	case p.TokenFile == "-":
		if p.Token, err = a.readToken("-"); err != nil {
			return p, err
		}
		p.TokenFile = ""
	}
	for _, path := range []*string{&p.Home, &p.CA, &p.TokenFile} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return p, err
		}
	}
	_, err = a.open(p)
	return p, err
}
