package main

import (
	"github.com/spf13/cobra"

	"roundtable/manager"
	"roundtable/security"
)

// certificateCACommand changes the cluster's CA, step by step, while the cluster runs.
func (a *app) certificateCACommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ca", Short: "Change the cluster's CA, while the cluster runs", Args: cobra.NoArgs,
		Long: `Changes the cluster's CA while the cluster runs. No manager is restarted, and no connection ends for it:

  1. where the CA's key is:   roundtable certificate ca new --home DIR
  2. on each other member:    roundtable certificate renew --home DIR --server https://FOUNDER:9080   (it learns of the new CA)
  3. where the CA's key is:   roundtable certificate ca use --home DIR
  4. on every member:         roundtable certificate renew --home DIR [--server https://FOUNDER:9080]  (of the new CA)
  5. on every member:         roundtable certificate ca forget --home DIR

Between the steps roundtable certificate show tells which CAs a member believes and which one signed its certificate. Clients
(--ca FILE) need the new ca.pem after step 1.`,
		Example: "roundtable certificate ca new --home /var/lib/roundtable",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	step := func(use, short string, do func(f security.Files, cluster string) error) *cobra.Command {
		return a.atHome(&cobra.Command{
			Use: use, Short: short, Args: cobra.NoArgs, Example: "roundtable certificate ca " + use + " --home /var/lib/roundtable",
			RunE: func(*cobra.Command, []string) error {
				c, err := a.homeConfig()
				if err != nil {
					return err
				}
				return do(manager.Files(c), c.Cluster.Name)
			},
		})
	}
	cmd.AddCommand(
		step("new", "Draw the next CA, and believe in it beside the one that signs", func(f security.Files, cluster string) error {
			if err := f.NewCA(cluster, a.now()); err != nil {
				return err
			}
			a.out.line("the next CA is in %s beside the one that signs; now renew the certificates of all other members: they learn of it so", f.CA)
			return nil
		}),
		step("use", "Let the next CA sign, when every member believes in it", func(f security.Files, _ string) error {
			if err := f.UseCA(); err != nil {
				return err
			}
			a.out.line("the next CA signs now; renew the certificates of all members, this one's first")
			return nil
		}),
		step("forget", "Believe in the CA alone that signed the certificate in a home, when no other one is in use", func(f security.Files, _ string) error {
			gone, err := f.ForgetCAs()
			if err != nil {
				return err
			}
			a.out.line("%s taken out of %s", count(len(gone), "CA"), f.CA)
			if last := f.LastCA(); last != "" {
				a.out.line("the old CA's key is still in %s: remove it", last)
			}
			return nil
		}),
	)
	return cmd
}
