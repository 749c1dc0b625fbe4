package manager

import (
	"context"
	"fmt"

	"roundtable/fsm"
	"roundtable/logkey"
	"roundtable/node"
)

// othersKeys are the public finalizer keys of the other members' nodes, and whose they are; nil for none.
func othersKeys(s *fsm.State, me string) map[string]string {
	var keys map[string]string
	for id, m := range s.Members {
		if id == me {
			continue
		}
		for _, key := range m.Finalizers {
			if keys == nil {
				keys = map[string]string{}
			}
			keys[key] = id
		}
	}
	return keys
}

// taken refuses keys of which another member's node has one: also a paused node votes, and two with one key vote against each other.
func (k kept) taken(keys []string) error {
	for _, key := range keys {
		if id, ok := k.Others[key]; ok {
			return &node.ConfigError{
				Key: "signature-provider", Text: fmt.Sprintf("%s is the finalizer key of %s, too", key, id),
				Hint: "give each node its own finalizer key: a paused node still votes",
			}
		}
	}
	return nil
}

// clash is called when the cluster refuses this member's record for another's finalizer key: a node that was started before the state was
// known. It has the node stopped, and reports whether it found the key: another rollout, or another template, takes it back.
func (h *home) clash(s *fsm.State) bool {
	h.follow(s)
	h.mu.Lock()
	defer h.mu.Unlock()
	err := h.configs.taken(*h.finalizers.Load())
	if err == nil {
		return false
	}
	h.complains(notStarted + wrong(err))
	select {
	case h.clashed <- struct{}{}:
	default:
	}
	return true
}

// halt stops a node that has another member's key. The next start is refused until it has it no more (prepare), and says why.
func (h *home) halt(ctx context.Context) {
	h.mu.Lock()
	err := h.configs.taken(*h.finalizers.Load())
	h.mu.Unlock()
	if err == nil {
		return // it was stopped meanwhile
	}
	h.log.Error("the node is stopped", logkey.Reason, wrong(err))
	if !h.turning.TryLock() { // whoever changes the node starts it, and is refused
		return
	}
	defer h.turning.Unlock()
	if err := h.supervisor.Stop(ctx); err != nil {
		h.log.Warn("the node was not stopped", logkey.Err, err)
	}
	h.launch()
}
