package manager

import (
	"context"
	"encoding/base64"
	"net"
	"time"

	"roundtable/cluster"
	"roundtable/fsm"
	"roundtable/security"
)

// authority is what the API needs of the cluster's CA.
type authority struct{ *manager }

// Sign makes a member's certificate, where the CA's key is.
func (a authority) Sign(request []byte, member string) (security.Issued, error) {
	return a.keeper.Sign(request, member)
}

// Gossip is what a new member finds the others with. A host is written as its member advertises it, for gossip knows only
// the address that it stood for once.
func (a authority) Gossip() (keys string, addresses []string) {
	addresses = []string{a.cfg.GossipAddr()}
	state, _ := a.cluster.View()
	nodes := a.cluster.Nodes()
	for _, id := range state.MemberIDs() {
		host, _, err := net.SplitHostPort(state.Members[id].Raft)
		_, port, unknown := net.SplitHostPort(nodes[id].Gossip)
		if id != a.cfg.Manager.ID && err == nil && unknown == nil {
			addresses = append(addresses, net.JoinHostPort(host, port))
		}
	}
	for _, key := range a.gossipKeys {
		keys += base64.StdEncoding.EncodeToString(key) + "\n"
	}
	return keys, addresses
}

// alarmWait bounds the proposal of an alarm.
const alarmWait = 10 * time.Second

// maxAlarms bounds those that wait for their turn.
const maxAlarms = 8

// Alarm puts a line into the history. It does not wait: whoever rings it has an answer to give.
func (a authority) Alarm(name, subject, text string) {
	select {
	case a.alarms <- fsm.RaiseAlarm{Name: name, Subject: subject, Text: text}:
	default:
		a.log.Warn("an alarm is not in the history: too many wait", "alarm", name, "subject", subject, "text", text)
	}
}

// ring puts the alarms into the history, one after the other, until ctx ends.
func (m *manager) ring(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-m.alarms:
			bounded, cancel := context.WithTimeout(ctx, alarmWait)
			key := cluster.WithKey("alarm-" + c.Name + "-" + c.Subject + "-" + m.opts.Now().UTC().Format(time.RFC3339))
			if _, err := m.cluster.Propose(bounded, c, key); err != nil {
				m.log.Warn("an alarm is not in the history", "alarm", c.Name, "subject", c.Subject, "text", c.Text, "err", err)
			}
			cancel()
		}
	}
}
