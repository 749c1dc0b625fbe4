package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"roundtable/cluster"
	"roundtable/fsm"
)

// TestVirtualActor: on whose behalf something is done stands in the history, asked of the leader or of another; but not before
// anything of version 2 was used, nor while a member does not know it: then the entry is as version 1 would write it.
func TestVirtualActor(t *testing.T) {
	virtual(t, 12, func(w *world) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		ctx = cluster.WithActor(ctx, "token:alice")
		actors := func() string { // of the lines with a subject of ours, from the newest state
			s, _ := w.members[w.leader()].View()
			var list []string
			for _, e := range s.History {
				if strings.HasPrefix(e.Kind, "alarm.") || e.Kind == "leader.transferred" || e.Kind == "member.removed" || e.Kind == "token.created" {
					list = append(list, e.Actor)
				}
			}
			return strings.Join(list, ",")
		}
		raise := func(asked string) error {
			_, err := w.members[asked].Propose(ctx, fsm.RaiseAlarm{Name: "test"})
			return err
		}
		token := fsm.PutToken{Token: fsm.Token{ID: "t1", Name: "alice", Role: fsm.RoleAdmin, Hash: strings.Repeat("a", 64)}}
		old := fsm.Member{ID: "m3", Incarnation: w.configs["m3"].Incarnation, EntryVersion: 1}
		if err := errors.Join(w.put("m1"), w.put("m2")); err != nil {
			return err
		}
		if _, err := w.members["m3"].Propose(ctx, fsm.PutMember{Member: old}); err != nil {
			return err
		}
		if err := raise("m2"); err != nil {
			return err
		}
		if _, err := w.members["m2"].Propose(ctx, token); !errors.Is(err, cluster.ErrEntryVersion) {
			return fmt.Errorf("a token while m3 is at version 1: %w", err)
		}
		if err := w.put("m3"); err != nil { // it was upgraded
			return err
		}
		if err := errors.Join(raise("m1"), raise("m2")); err != nil {
			return err
		}
		if s, _ := w.members["m1"].View(); s.Level != 0 || actors() != ",," {
			return fmt.Errorf("level %d, actors %q: no way back", s.Level, actors())
		}
		if _, err := w.members["m2"].Propose(ctx, token); err != nil {
			return err
		}
		if err := errors.Join(raise("m1"), raise("m2"), raise("m3")); err != nil {
			return err
		}
		to := w.other(w.leader())
		if err := w.members[w.other(to)].TransferLeadership(ctx, to); err != nil {
			return err
		}
		gone := w.other(to)
		if err := w.members[w.other(to, gone)].Remove(ctx, gone); err != nil {
			return err
		}
		if got := actors(); got != ",,"+strings.Repeat(",token:alice", 6) {
			return fmt.Errorf("actors %q", got)
		}
		return nil
	})
}
