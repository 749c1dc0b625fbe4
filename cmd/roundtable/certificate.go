package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"roundtable/api"
	"roundtable/cmd/roundtable/config"
	"roundtable/manager"
	"roundtable/security"
)

// certificateView is `roundtable certificate show` for programs.
type certificateView struct {
	Member    string   `json:"member"`
	Hosts     []string `json:"hosts"`
	Serial    string   `json:"serial"`
	NotBefore string   `json:"not_before"`
	NotAfter  string   `json:"not_after"`
	RenewAt   string   `json:"renew_at"`
	Issuer    string   `json:"issuer"` // fingerprint; "" where that CA is not believed
	CAs       []caView `json:"cas"`
	CAKey     bool     `json:"ca_key"`            // the CA's key is here
	Problem   string   `json:"problem,omitempty"` // why the others refuse it
}

type caView struct {
	Name        string `json:"name"`
	Fingerprint string `json:"fingerprint"`
	NotAfter    string `json:"not_after"`
}

func (a *app) certificateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "certificate", Aliases: []string{"cert"}, Short: "A manager's certificate: what it says, and a new one", Args: cobra.NoArgs, Example: "roundtable certificate show",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.certificateShowCommand(), a.certificateRenewCommand(), a.certificateCACommand())
	return cmd
}

// atHome adds the flag of the commands that read a home's files and ask no manager.
func (a *app) atHome(cmd *cobra.Command) *cobra.Command {
	a.prints(cmd)
	cmd.Flags().StringVar(&a.flags.home, "home", "", "home `DIR` of the manager (ROUNDTABLE_HOME)")
	return cmd
}

// homeConfig reads the configuration of a home, good or not: a certificate can be looked at in either case.
func (a *app) homeConfig() (*config.Config, error) {
	home := firstOf(a.flags.home, a.environ("ROUNDTABLE_HOME"))
	if home == "" {
		home = filepath.Dir(a.socket)
	}
	c, err := config.Load(filepath.Join(home, "config.toml"), os.Environ(), nil)
	switch {
	case c == nil:
		return nil, err
	case c.Plain():
		return nil, &failure{exitFailed, home + " is of a cluster without TLS: there is no certificate", ""}
	}
	return c, nil
}

func (a *app) certificateShowCommand() *cobra.Command {
	return a.atHome(&cobra.Command{
		Use: "show", Short: "What the certificate in a home says: until when, for which hosts, of which CA", Args: cobra.NoArgs,
		Example: "roundtable certificate show --home /var/lib/roundtable",
		RunE: func(*cobra.Command, []string) error {
			c, err := a.homeConfig()
			if err != nil {
				return err
			}
			info, problem, err := security.Inspect(manager.Files(c), c.Manager.ID, a.now())
			if err != nil {
				return err
			}
			_, noKey := os.Stat(c.TLS.CAKey)
			v := certificateView{
				Member: info.Member, Hosts: info.Hosts, Serial: info.Serial, NotBefore: stamp(info.NotBefore), NotAfter: stamp(info.NotAfter),
				RenewAt: stamp(info.RenewAt()), Issuer: info.Issuer, CAKey: noKey == nil,
			}
			for _, ca := range info.CAs {
				v.CAs = append(v.CAs, caView{ca.Name, ca.Fingerprint, stamp(ca.NotAfter)})
			}
			if problem != nil {
				v.Problem = problem.Error()
			}
			raw, err := json.Marshal(v)
			if err != nil {
				return err
			}
			return a.show(raw, func(w *printer) { printCertificate(w, v, a.now()) })
		},
	})
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func printCertificate(w *printer, v certificateView, now time.Time) {
	if v.Problem != "" {
		w.line("%s", red("the others refuse it: "+v.Problem))
	}
	w.line("member    %s", v.Member)
	w.para("", "hosts     ", strings.Join(v.Hosts, ", "))
	w.line("until     %s (%s)", moment(v.NotAfter), since(v.NotAfter, now))
	w.line("renewed   %s (%s), by the running manager", moment(v.RenewAt), since(v.RenewAt, now))
	w.line("serial    %s", v.Serial)
	for _, ca := range v.CAs {
		role := "believed"
		if ca.Fingerprint == v.Issuer {
			role = "signed it"
			if v.CAKey {
				role = "signed it, its key is here"
			}
		}
		w.line("CA        %s, %s, until %s", ca.Name, role, moment(ca.NotAfter))
		w.line("          sha256 %s", ca.Fingerprint)
	}
}

// renewTime bounds a renewal by hand.
const renewTime = 30 * time.Second

func (a *app) certificateRenewCommand() *cobra.Command {
	var servers []string
	cmd := a.atHome(&cobra.Command{
		Use: "renew", Short: "Get a new certificate now, for a manager that runs or not", Args: cobra.NoArgs,
		Long: "Gets a new certificate now: signed here, where the CA's key is (tls.ca_key), or by the member that has it (--server). A running\n" +
			"manager takes it over at once and no connection ends for it. Running managers renew by themselves: this is for a manager that was off\n" +
			"for long, or for a new CA. Where the old certificate has ended, only the CA's key helps.",
		Example: "roundtable certificate renew --home /var/lib/roundtable\nroundtable certificate renew --home /var/lib/roundtable --server https://bp1.example.org:9080",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.homeConfig()
			if err != nil {
				return err
			}
			var keeper *security.Keeper
			ask := func(ctx context.Context, request []byte) (security.Issued, error) {
				return askServers(ctx, &http.Client{Transport: &http.Transport{TLSClientConfig: keeper.Client(""), DisableKeepAlives: true}, CheckRedirect: stay}, servers, request)
			}
			if keeper, err = security.Open(security.Config{Files: manager.Files(c), Member: c.Manager.ID, Hosts: c.Hosts(), Ask: ask, Now: a.now}); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), renewTime)
			defer cancel()
			if err := keeper.Renew(ctx); err != nil {
				return err
			}
			a.out.line("the certificate of %s is good until %s", c.Manager.ID, moment(stamp(keeper.Status().NotAfter)))
			return nil
		},
	})
	cmd.Flags().StringSliceVar(&servers, "server", nil, "`URL` of the API of a member that has the CA's key, where it is not here; or several")
	return cmd
}

// askServers has one of some members sign a request.
func askServers(ctx context.Context, client *http.Client, servers []string, request []byte) (security.Issued, error) {
	if len(servers) == 0 {
		return security.Issued{}, &failure{exitFailed, "the key of the cluster's CA is not here", "name the API of the member that has it: --server https://HOST:9080"}
	}
	var all []error
	for _, url := range servers {
		var c api.Certificate
		err := api.AskMember(ctx, client, url, "/cluster/certificate", api.CertificateRequest{CSR: string(request)}, &c)
		if err == nil {
			return security.Issued{Cert: []byte(c.Certificate), CA: []byte(c.CA)}, nil
		}
		all = append(all, fmt.Errorf("%s: %w", url, err))
	}
	return security.Issued{}, &failure{exitFailed, fmt.Sprintf("nobody signed it:\n%v", errors.Join(all...)), "ask the member that has tls/ca.key"}
}
