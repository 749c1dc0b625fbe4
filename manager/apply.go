package manager

import (
	"slices"

	"roundtable/cluster/control"
	"roundtable/cmd/roundtable/config"
	"roundtable/node"
)

// config is the configuration in force. Whoever reads a key that may change while the manager runs asks anew each time; the others
// are as m.cfg has them.
func (m *manager) config() *config.Config { return m.reload.Current() }

// apply brings the live keys to those that do not ask for them: reloader.onLive.
func (m *manager) apply(old, now *config.Config) {
	if m.opts.Level != nil {
		m.opts.Level.Set(now.Level())
	}
	m.control.Configure(control.Settings{Priority: now.Manager.Priority, NoFailover: now.Manager.NoFailover})
	if m.local != nil {
		m.local.supervisor.Tune(tuning(now))
		m.local.home.configure(now)
	}
	if m.keeper != nil && !slices.Equal(old.Hosts(), now.Hosts()) {
		m.keeper.SetHosts(now.Hosts())
	}
}

// offer has what a node is started with looked at again: reloader.onNode.
func (m *manager) offer(now *config.Config) {
	if m.local != nil {
		m.local.home.configure(now)
	}
}

// tuning is what of the node's supervisor may change while it runs.
func tuning(c *config.Config) node.Tuning {
	return node.Tuning{StopTimeout: c.Node.StopTimeout.D(), Budget: node.Budget{Exits: c.Node.CrashBudget, Window: c.Node.CrashWindow.D()}}
}
