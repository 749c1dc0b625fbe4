package manager

import (
	"errors"
	"strings"

	"roundtable/fsm"
	"roundtable/node"
)

// checkOverlay says what is wrong with lines of config.ini that are to be the cluster's overlay: those with which no member's node
// could be built, and those that would come to nothing, for roundtable sets them itself. It is a *fsm.Refusal and holds no key. It
// asks no node, so that a witness can be asked as well.
func checkOverlay(lines string) error {
	refuse := func(message, hint string) error {
		return &fsm.Refusal{Rule: fsm.ErrConfig.Rule, Message: "the overlay: " + message, Hint: hint}
	}
	// Some member's, with nothing in it but what all have.
	some := node.Settings{HTTP: "127.0.0.1:1", P2P: "127.0.0.1:1", AgentName: "-", Producers: []string{"-"}, Fence: node.FenceGate, Keys: []string{"-"}, Socket: "/gate.sock"}
	b, err := configuration{Overlay: lines}.build(some, version{})
	var c *node.ConfigError
	switch {
	case errors.As(err, &c):
		return refuse(c.Key+": "+c.Text, c.Hint)
	case err != nil:
		return refuse(wrong(err), "")
	case len(b.Notes) > 0:
		key, _, _ := strings.Cut(b.Notes[0], ":")
		return refuse(key+" is set by the managers", "each has it from its config.toml or from what the cluster has agreed on: roundtable config get")
	}
	return nil
}
