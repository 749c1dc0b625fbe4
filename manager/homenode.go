package manager

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"roundtable/chain"
	"roundtable/fsm"
	"roundtable/node"
)

// lookPeers is how often a proof that lacks peers looks again.
const lookPeers = 250 * time.Millisecond

// Prove returns once the node is proved back; peers says whether its p2p peers are as they must be. A node that ran and ended by
// itself is proved not to be, whatever its next start brings.
func (h *home) Prove(ctx context.Context, best func() chain.Slot, peers func() bool, say func(percent int, text string)) error {
	watched, ended := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { ended(h.untilItEnds(watched)) })
	defer watching.Wait()
	defer ended(nil)
	err := h.prove(watched, best, peers, say)
	if cause := (*problem)(nil); err != nil && errors.As(context.Cause(watched), &cause) {
		return cause
	}
	return err
}

// untilItEnds returns why the node ended, once it does so unasked after it was seen running; or ctx's error.
func (h *home) untilItEnds(ctx context.Context) error {
	ran, before := false, (*node.Exit)(nil)
	for {
		st, changed := h.supervisor.Watch()
		switch {
		case !ran:
			ran, before = st.State == node.StateRunning, st.LastExit
		case st.LastExit != before && !st.LastExit.Asked:
			return exited("manager: the node started, and then ended", st.LastExit, node.ErrExited)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (h *home) prove(ctx context.Context, best func() chain.Slot, peers func() bool, say func(percent int, text string)) error {
	err := node.Prove(ctx, node.ProveConfig{
		Monitor: h.monitor, Now: h.now, Best: func() chain.Block { return chain.Block{Slot: best()} },
		Progress: func(text string) { say(proofPercent(text), text) },
	})
	if err != nil {
		return err
	}
	again := time.NewTicker(lookPeers)
	defer again.Stop()
	for !peers() {
		say(90, "it has no p2p peers yet")
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("manager: the node is not proved back: it has no p2p peers: %w", ctx.Err())
		}
	}
	say(100, "it is back")
	return nil
}

// proofPercent is how far a proof is that says "block 3 of 5".
func proofPercent(text string) int {
	var n, of int
	if _, err := fmt.Sscanf(text, "block %d of %d", &n, &of); err != nil || of <= 0 {
		return 0
	}
	return min(max(n*90/of, 0), 90)
}

// snapshotWait bounds a chain snapshot: nodeos answers when its block is irreversible, on a chain that stands still never.
const snapshotWait = 15 * time.Minute

// Snapshot makes a chain snapshot.
func (h *home) Snapshot(ctx context.Context) (string, error) {
	if err := h.answers(ctx); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, snapshotWait)
	defer cancel()
	s, err := h.client.CreateSnapshot(ctx)
	if err != nil {
		return "", fmt.Errorf("manager: chain snapshot: %w", err)
	}
	return fmt.Sprintf("%s of block #%d", s.Path, s.HeadNum), nil
}

// answers returns once the node's HTTP answers: it may just be starting, because its manager was restarted.
func (h *home) answers(ctx context.Context) error {
	for {
		st, changed := h.supervisor.Watch()
		switch st.State {
		case node.StateRunning:
			return nil
		case node.StateFailed, node.StateStopped:
			return fmt.Errorf("manager: the node is %s: %s", st.State, st.Reason)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("manager: the node is %s: %w", stateWords(st.State), ctx.Err())
		}
	}
}

// Arm tells nodeos to stop at a block, as soon as it answers: it takes in none behind it, and makes none. A restart forgets it.
func (h *home) Arm(ctx context.Context, block uint32) error {
	if err := h.answers(ctx); err != nil {
		return err
	}
	return h.client.PauseAtBlock(ctx, block)
}

// Disarm takes it back, and leaves a pause as it is.
func (h *home) Disarm(ctx context.Context) error { return h.client.NoPauseAtBlock(ctx) }

// Triggered asks the node.
func (h *home) Triggered(ctx context.Context, u fsm.Upgrade) (bool, string, error) {
	switch {
	case u.Feature != "":
		all, err := h.client.ActivatedFeatures(ctx)
		if err != nil {
			return false, "", err
		}
		return featured(all, u.Feature)
	case u.Row != nil:
		rows, err := h.client.TableRows(ctx, node.TableQuery{Code: u.Row.Code, Scope: u.Row.Scope, Table: u.Row.Table, Lower: u.Row.Key, Upper: u.Row.Key, Limit: 1})
		if errors.Is(err, node.ErrNoTable) { // it may come with the contract's next version
			return false, "there is no table " + u.Row.Table + " of " + u.Row.Code + " yet", nil
		} else if err != nil {
			return false, "", err
		}
		return says(rows.Rows, *u.Row)
	}
	v, _ := h.monitor.View()
	head := v.Head.Num
	return u.AtBlock == 0 || head >= u.AtBlock, fmt.Sprintf("the head is block #%d", head), nil
}

// featured looks for a protocol feature, by its digest or its code name.
func featured(all []node.Feature, want string) (bool, string, error) {
	for _, f := range all {
		if strings.EqualFold(f.Digest, want) || f.Name() != "" && strings.EqualFold(f.Name(), want) {
			return true, fmt.Sprintf("%s was activated in block #%d", cmp.Or(f.Name(), f.Digest), f.Block), nil
		}
	}
	return false, "the protocol feature " + want + " is not activated", nil
}

// says looks whether the first row has the value: a string, or what JSON writes for anything else.
func says(rows []json.RawMessage, want fsm.TableRow) (bool, string, error) {
	if len(rows) == 0 {
		return false, "there is no such row in " + want.Table, nil
	}
	var row map[string]json.RawMessage
	if err := json.Unmarshal(rows[0], &row); err != nil {
		return false, "", fmt.Errorf("manager: a row of %s that is not an object: is the contract's ABI there? %w", want.Table, err)
	}
	raw, ok := row[want.Field]
	if !ok {
		return false, "", fmt.Errorf("manager: the rows of %s have no field %q", want.Table, want.Field)
	}
	value := string(raw)
	if text := new(string); raw[0] == '"' && json.Unmarshal(raw, text) == nil {
		value = *text
	}
	return value == want.Value, fmt.Sprintf("%s is %.80q", want.Field, value), nil
}
