package drill

import (
	"context"
	"math/rand/v2"
	"time"
)

// fault is a kind of trouble. least and most bound how long it lasts.
type fault struct {
	name        string
	least, most time.Duration
	standIn     bool // only simnodeos can do it
	within      bool // the manager does it to itself, which it does in a sandbox without TLS only
	mends       bool // somebody else undoes it, in his own time
	needs       func(*Options)
	draw        func(r *rand.Rand) hurt
}

// hurt is a fault with all its choices made: what is done to a member, and undone.
type hurt struct {
	text     string // tells of the choices
	do, undo func(d *drill, ctx context.Context, m *Member) error
}

func (h hurt) says(name string) string {
	if h.text == "" {
		return name
	}
	return name + " (" + h.text + ")"
}

// plain is a fault without choices.
func plain(do, undo func(d *drill, ctx context.Context, m *Member) error) func(*rand.Rand) hurt {
	return func(*rand.Rand) hurt { return hurt{do: do, undo: undo} }
}

// running does it to a member that runs: an earlier fault may have ended this one.
func running(do func(*drill, context.Context, *Member) error) func(*drill, context.Context, *Member) error {
	return func(d *drill, ctx context.Context, m *Member) error {
		if !m.Running() {
			return nil
		}
		return do(d, ctx, m)
	}
}

const (
	leastFreeze = 100 * time.Millisecond
	mostFreeze  = 60 * time.Second
	leastDown   = time.Second // between a kill and the restart
	mostDown    = 8 * time.Second
)

func (d *drill) startAgain(_ context.Context, m *Member) error {
	if m.Running() {
		return nil
	}
	return d.StartMember(m)
}

// leave undoes what somebody else is there to mend.
func (*drill) leave(context.Context, *Member) error { return nil }

var (
	killBoth    = fault{name: "kill", least: leastDown, most: mostDown, draw: plain(running((*drill).KillMember), (*drill).startAgain)}
	killManager = fault{name: "kill of the manager", least: leastDown, most: mostDown, draw: plain(func(d *drill, _ context.Context, m *Member) error {
		return d.KillManager(m)
	}, (*drill).startAgain)}
	killNode      = fault{name: "kill of the node", mends: true, least: leastDown, most: mostDown, draw: plain(running((*drill).KillNode), (*drill).leave)}
	freezeManager = freeze("freeze of the manager", Manager)
	freezeNode    = freeze("freeze of the node", Node)
	freezeBoth    = freeze("freeze", Both)
)

// faults are what mix draws from.
var faults = []fault{killBoth, killManager, killNode, freezeManager, freezeNode, freezeBoth, partition, oneway, lossy, lonely, diskStall, clockStep, clockSkew, signerSlow, nodeHangs, nodeExits}

// needsOf is what a sandbox must have for all of these.
func needsOf(list []fault) func(*Options) {
	return func(o *Options) {
		for _, f := range list {
			if f.needs != nil {
				f.needs(o)
			}
		}
	}
}

func freeze(name string, what What) fault {
	return fault{name: name, least: leastFreeze, most: mostFreeze, draw: plain(
		func(d *drill, _ context.Context, m *Member) error { return d.Freeze(m, what) },
		func(d *drill, _ context.Context, m *Member) error { return d.Thaw(m, what) })}
}
