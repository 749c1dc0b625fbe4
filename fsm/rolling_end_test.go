package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func said(f func(*ReportOperation)) ReportOperation { return report(2, "b", f) }

func over2(c *ReportOperation)   { c.Percent, c.Ended = 100, true }
func failing(c *ReportOperation) { c.Ended, c.Fault = true, "exits at once" }
func part(s *State, member string) Part {
	p, _ := newest(&testing.T{}, s).Current().Part(member)
	return p
}
func history(s *State) Event                      { return s.History[len(s.History)-1] }
func putHome(member string, r Runs) PutHome       { return PutHome{member, r} }
func overlay(s *State) (text string, proven bool) { return s.Cluster.Overlay, s.Cluster.Proven == nil }
func taken(text string, proven bool) func(*State) bool {
	return func(s *State) bool { t, p := overlay(s); return t == text && p == proven }
}

// all holds where all do.
func all(checks ...func(*State) bool) func(*State) bool {
	return func(s *State) bool {
		return !slices.ContainsFunc(checks, func(f func(*State) bool) bool { return !f(s) })
	}
}

var reportRules = []rule{
	{name: "progress", on: on(restart(), "restart b"), do: report(2, "b"), check: func(s *State) bool {
		return part(s, "b") == Part{Member: "b", Incarnation: inc("b", 0), Percent: 40, Text: "starting"} && history(s).Kind == "operation.step" && newest(&testing.T{}, s).Deadline == 71_000
	}},
	{name: "progress of many words", on: on(restart(), "restart b"), do: said(func(c *ReportOperation) { c.Text = strings.Repeat("ä", maxSaid) }), check: func(s *State) bool { return len(part(s, "b").Text) == maxSaid }},
	{name: "the end", on: on(restart(), "restart b"), do: said(over2), check: stands(StepRestart, Running, "", through("b"), until(72_000), func(s *State, o Operation) bool {
		_, working := s.Working("b")
		return part(s, "b").Ended == 12_000 && o.Current().Over() && !working && len(s.Left(o)) == 2
	})},
	{name: "the end by a clock that is a year ahead", on: on(restart(), "restart b"), at: 1 << 35, do: said(over2), check: stands(StepRestart, Running, "", until(71_000+PlanTime))},
	{name: "the end by a clock that is behind", on: on(restart(), "restart b"), at: 5, do: said(over2), check: stands(StepRestart, Running, "", until(71_000))},
	{name: "the end at the beginning of time", on: on(restart(), "restart b"), at: -1, do: said(over2), check: func(s *State) bool { return part(s, "b").Ended == 1 }},
	{name: "the end of what stops nobody: it may have to wait for others", on: on(upgrade(), "stage a b c", "ok a", "ok c"), do: report(2, "b", over2), check: stands(StepStage, Running, "", until(14_000+MaxStep))},
	{name: "more words after that move no deadline", on: on(upgrade(func(u *Upgrade) { u.AtBlock = 7 }), append(slices.Clone(staged), "trigger a b c", "ok a")...), at: 900_000, do: report(3, "b"), check: stands(StepTrigger, Running, "", until(16_000+MaxStep))},
	{name: "one of several", on: on(upgrade(), "stage a b c"), do: said(over2), check: stands(StepStage, Running, "", through(), until(71_000), func(_ *State, o Operation) bool { return !o.Current().Over() })},
	{name: "one of several that failed: the others go on", on: on(upgrade(), "stage a b c"), do: said(failing), check: stands(StepStage, Running, "", func(_ *State, o Operation) bool {
		return !o.Current().Over() && o.Current().Faults() == "b: exits at once"
	})},
	{name: "a fault", on: on(restart(), "restart b"), do: said(failing), check: stands(StepRestart, Running, "", through(), func(s *State, o Operation) bool {
		return o.Current().Over() && o.Roll.Fault == "" && history(s).Kind == "operation.fault" && history(s).Subject == "b" && history(s).Text == "restart 10: restart: exits at once"
	})},
	{name: "a fault before the end", on: on(restart(), "restart b"), do: said(func(c *ReportOperation) { c.Fault = "x" }), want: ErrStep},
	{name: "after the end", on: on(restart(), "restart b", "ok b"), do: said(over2), want: ErrStep},
	{name: "no step", on: on(restart(), "restart b"), do: report(0, "b"), want: ErrStep},
	{name: "of the step before", on: on(restart(), "restart b"), do: report(1, "b"), want: ErrStep},
	{name: "of somebody else", on: on(restart(), "restart b"), do: report(2, "c"), want: ErrStep},
	{name: "of the process before", on: then(on(restart(), "restart b"), with(PutMember{member("b", 1)})), do: report(2, "b"), want: ErrIncarnation},
	{name: "of the process after", on: then(on(restart(), "restart b"), with(PutMember{member("b", 1)})), do: said(func(c *ReportOperation) { c.Incarnation = inc("b", 1) }), check: func(s *State) bool {
		return part(s, "b").Incarnation == inc("b", 0) && part(s, "b").Percent == 40 // it tells that its node was started anew
	}},
	{name: "of no process", on: on(restart(), "restart b"), do: said(func(c *ReportOperation) { c.Incarnation = "" }), want: ErrIncarnation},
	{name: "more than all", on: on(restart(), "restart b"), do: said(func(c *ReportOperation) { c.Percent = 101 }), want: ErrStep},
	{name: "less than nothing", on: on(restart(), "restart b"), do: said(func(c *ReportOperation) { c.Percent = -1 }), want: ErrStep},
	{name: "when it has ended", on: on(restart(), "restart b", "expire"), do: said(over2), want: ErrEnded},
	{name: "to what nobody knows", on: homed, do: report(2, "b"), want: ErrOperation},
	{name: "to a handoff", on: atStep(StepStart), do: ReportOperation{ID: handoffID, Number: 4, Member: "b", Incarnation: inc("b", 0)}, want: ErrStep},
	{name: "an undo that came through", on: upgrading("switch b", "bad b x", "undo b ! x"), do: report(4, "b", over2), check: stands(StepUndo, Running, "b=v1.0.0", through(), undone("b"))},
	{name: "an undo that did not", on: upgrading("switch b", "bad b x", "undo b ! x"), do: report(4, "b", failing), check: stands(StepUndo, Running, "b=v1.0.0", through(), undone())},
}

var finishRules = []rule{
	{name: "all are through", on: on(restart("b"), "restart b", "ok b"), do: finish(2, StepRestart, Done), check: stands("", Done, "", func(s *State, o Operation) bool { return history(s).Kind == "operation.done" && !o.Disruptive() })},
	{name: "one is left", on: on(restart("b", "c"), "restart b", "ok b"), do: finish(2, StepRestart, Done), want: ErrStep},
	{name: "who was left is gone", on: then(on(restart("b", "c"), "restart b", "ok b"), with(RemoveMember{ID: "c"})), do: finish(2, StepRestart, Done), check: stands("", Done, "")},
	{name: "who was left has no node any more", on: then(on(restart("b", "c"), "restart b", "ok b"), with(PutMember{change(member("c", 1), func(m *Member) { m.Witness = true })})), do: finish(2, StepRestart, Done), check: stands("", Done, "")},
	{name: "at no step", on: on(restart("b"), "restart b", "ok b"), do: finish(2, "", Done), want: ErrStep},
	{name: "at another step", on: on(restart("b"), "restart b", "ok b"), do: finish(2, StepHandOver, Done), want: ErrStep},
	{name: "at the step of the same name before", on: on(restart("b", "c"), "restart b", "ok b", "restart c", "ok c"), do: finish(2, StepRestart, Done), want: ErrStep},
	{name: "as a program of version 2 says it", on: on(restart("b"), "restart b", "ok b"), do: finish(0, StepRestart, Failed), want: ErrStep},
	{name: "twice", on: on(restart("b"), "restart b", "ok b", "done"), do: finish(2, StepRestart, Done), want: ErrEnded},
	{name: "with a fault", on: upgrading("switch b", "ok b", "switch c", "ok c", "hand ! b is ill"), do: finish(5, StepHandOver, Done), want: ErrStep},
	{name: "failed in the middle", on: upgrading("switch b"), do: finish(3, StepSwitch, Failed), check: stands("", Failed, "b=v1.0.0", func(_ *State, o Operation) bool { return o.Reason == "because" })},
	{name: "canceled by nobody", on: on(restart(), "restart b", "ok b"), do: finish(2, StepRestart, Canceled), want: ErrStep},
	{name: "canceled by nobody, at no step", on: on(restart()), do: FinishOperation{ID: rollID, Number: 1, Outcome: Canceled}, want: ErrStep},
	{name: "canceled", on: on(restart(), "restart b", "cancel", "ok b"), do: finish(2, StepRestart, Canceled), check: stands("", Canceled, "", through("b"))},
	{name: "canceled while a node is stopped", on: on(restart(), "restart b", "cancel"), do: finish(2, StepRestart, Canceled), want: ErrStep},
	{name: "canceled after a fault", on: on(restart(), "restart b", "cancel", "bad b x"), do: finish(2, StepRestart, Canceled), want: ErrStep},
	{name: "done after all, though canceled", on: on(restart("b"), "restart b", "cancel", "ok b"), do: finish(2, StepRestart, Done), check: stands("", Done, "")},
	{name: "an upgrade to what all run", on: on(upgrade(func(u *Upgrade) { u.Tag = "v1.0.0" })), do: finish(1, StepValidate, Done), check: stands("", Done, "")},
	{name: "an upgrade to what two run", on: then(on(upgrade()), with(putHome("a", Runs{Tag: "v2.0.0"}), putHome("b", Runs{Tag: "v2.0.0"}))), do: finish(1, StepValidate, Done), want: ErrStep},
	{name: "an upgrade to what all run, and one is not to", on: func(t testing.TB) *State {
		s := upgrading("switch b", "bad b x", "failed")(t) // b is to run v1.0.0
		for _, id := range []string{"a", "b", "c"} {
			s = must(t, s, PutHome{id, Runs{Tag: "v2.0.0"}})
		}
		return must(t, s, change(upgrade(), func(c *StartOperation) { c.Deadline = 90_000 }))
	}, do: FinishOperation{ID: 21, Number: 1, Step: StepValidate, Outcome: Done}, want: ErrStep},
	{name: "a restart that has not begun", on: on(restart()), do: finish(1, StepValidate, Done), want: ErrStep},
	{name: "a hard fork before production goes on", on: on(upgrade(hardFork), forked("ok a", "ok b", "ok c")...), do: finish(4, StepFork, Done), want: ErrStep},
	{name: "a hard fork", on: on(upgrade(hardFork), forked("ok a", "ok b", "ok c", "resume")...), do: finish(5, StepResume, Done), check: stands("", Done, "a=v2.0.0 b=v2.0.0 c=v2.0.0")},
	{name: "a hard fork that not all came through", on: on(upgrade(hardFork), forked("ok a", "bad b x", "ok c", "resume")...), do: finish(5, StepResume, Done), want: ErrStep},

	{name: "expire", on: on(restart()), at: 70_001, do: ExpireOperation{ID: rollID, Step: StepValidate, Number: 1}, check: stands("", Expired, "")},
	{name: "expire too early", on: on(restart()), at: 70_000, do: ExpireOperation{ID: rollID, Step: StepValidate, Number: 1}, want: ErrDeadline},
	{name: "expire as a program of version 2 says it", on: on(restart()), at: 70_001, do: ExpireOperation{ID: rollID, Step: StepValidate}, want: ErrStep},
	{name: "expire a step of the same name before", on: on(restart(), "restart b", "ok b", "restart c"), at: 100_000, do: ExpireOperation{ID: rollID, Step: StepRestart, Number: 2}, want: ErrStep},
	{name: "expire in the queue", on: then(on(restart("b")), with(queued(restart("c")))), at: 70_001, do: ExpireOperation{ID: rollID + 1, Step: StepQueued, Number: 1}, check: stands("", Expired, "")},

	{name: "advance as a handoff", on: on(restart()), do: AdvanceOperation{rollID, StepValidate, StepAwait, "a", 70_000}, want: ErrStep},
	{name: "transfer as a handoff", on: on(restart(), "hand"), do: Transfer{1, inc("a", 0), 103, block(103), "b", inc("b", 0), 107, rollID, 70_000}, want: ErrStep},

	{name: "rolled out", on: overlaid("restart b", "ok b", "restart c", "ok c", "hand", "handoff b", "restart a", "ok a"), do: FinishOperation{ID: 11, Number: 5, Step: StepRestart, Outcome: Done}, check: all(stands("", Done, "a:c2 b:c2 c:c2"), taken("max-clients = 9", true))},
	{name: "rolled out, and another overlay was written meanwhile", on: then(overlaid("restart b", "ok b", "restart c", "ok c", "hand", "handoff b", "restart a", "ok a"), with(PatchCluster{Overlay: ptr("max-clients = 8")})), do: FinishOperation{ID: 11, Number: 5, Step: StepRestart, Outcome: Done}, check: all(stands("", Done, "a:c2 b:c2 c:c2"), taken("max-clients = 8", false))},
	{name: "not rolled out", on: overlaid("restart b", "ok b", "restart c", "bad c exits"), do: FinishOperation{ID: 11, Number: 3, Step: StepRestart, Outcome: Failed}, check: all(stands("", Failed, "b:c2 c:c1!c2"), taken("", true), func(s *State) bool {
		return s.Cluster.Overlaid == 16 && s.History[len(s.History)-2].Kind == "cluster.overlay" && history(s).Kind == "operation.failed"
	})},
	{name: "not rolled out, and another overlay was written meanwhile", on: then(overlaid("restart b", "bad b exits"), with(PatchCluster{Overlay: ptr("max-clients = 8")})), do: FinishOperation{ID: 11, Number: 2, Step: StepRestart, Outcome: Failed}, check: all(stands("", Failed, "b:c1!c2"), taken("max-clients = 8", false))},
	{name: "rolled out, but what one was told of was an earlier overlay", on: func(t testing.TB) *State {
		s := looked(must(t, homed(t), PatchCluster{Overlay: ptr("max-clients = 9")}))
		return play(t, must(t, s, PatchCluster{Overlay: ptr("max-clients = nine")}, rollout()), "restart b", "ok b", "restart c", "ok c", "hand", "handoff b", "restart a", "ok a")
	}, do: FinishOperation{ID: 12, Number: 5, Step: StepRestart, Outcome: Done}, check: all(stands("", Done, "a:c2 b:c2 c:c2"), taken("max-clients = nine", false))},
	{name: "not rolled out, for nobody's fault", on: overlaid("restart b", "ok b", "hand"), do: FinishOperation{ID: 11, Number: 3, Step: StepHandOver, Outcome: Failed}, check: all(stands("", Failed, "b:c2"), taken("max-clients = 9", false))},
	{name: "not rolled out, before anybody began", on: overlaid(), do: FinishOperation{ID: 11, Number: 1, Step: StepValidate, Outcome: Failed}, check: all(stands("", Failed, ""), taken("max-clients = 9", false))},
	{name: "rolled out where the overlay is the same", on: on(rollout(), "restart b", "bad b exits"), do: finish(2, StepRestart, Failed), check: all(stands("", Failed, "b:c1!c2"), taken("", true))},
}

var cancelRules = []rule{
	{name: "before it begins", on: on(restart()), do: CancelOperation{ID: rollID, Reason: "no time"}, check: stands("", Canceled, "", func(_ *State, o Operation) bool { return o.Reason == "no time" })},
	{name: "in the queue", on: then(on(restart("b")), with(queued(restart("c")))), do: CancelOperation{ID: rollID + 1}, check: stands("", Canceled, "")},
	{name: "while it stages", on: on(upgrade(), "stage a b c", "bad a x"), do: CancelOperation{ID: rollID}, check: stands("", Canceled, "")},
	{name: "while it waits", on: on(upgrade(func(u *Upgrade) { u.AtBlock = 7 }), append(slices.Clone(staged), "trigger a")...), do: CancelOperation{ID: rollID}, check: stands("", Canceled, "")},
	{name: "while a snapshot is made", on: on(upgrade(func(u *Upgrade) { u.Snapshot = true }), append(slices.Clone(staged), "snapshot b")...), do: CancelOperation{ID: rollID}, check: stands("", Canceled, "")},
	{name: "while a node is stopped", on: on(restart(), "restart b"), do: CancelOperation{ID: rollID}, check: stands(StepRestart, Running, "", func(s *State, o Operation) bool {
		return o.Roll.Cancel && history(s).Kind == "operation.cancel" && history(s).Text == "restart 10 stops after b"
	})},
	{name: "twice", on: on(restart(), "restart b", "cancel"), do: CancelOperation{ID: rollID}, check: func(s *State) bool { return len(s.History) == 9 }},
	{name: "between two members", on: upgrading("switch b", "ok b"), do: CancelOperation{ID: rollID}, check: stands("", Canceled, "b=v2.0.0")},
	{name: "while production moves", on: then(upgrading("switch b", "ok b", "hand"), with(child(rollID, "b", 70_000))), do: CancelOperation{ID: rollID}, check: stands("", Canceled, "b=v2.0.0", func(s *State, _ Operation) bool { return len(s.RunningOperations()) == 1 })},
	{name: "what has failed", on: upgrading("switch b", "bad b x"), do: CancelOperation{ID: rollID}, want: ErrStep},
	{name: "what goes back", on: upgrading("switch b", "bad b x", "undo b ! x"), do: CancelOperation{ID: rollID}, want: ErrStep},
	{name: "what went back", on: upgrading("switch b", "bad b x", "undo b ! x", "ok b"), do: CancelOperation{ID: rollID}, want: ErrStep},
	{name: "what hands over to go back", on: upgrading("switch b", "ok b", "hand ! b is ill"), do: CancelOperation{ID: rollID}, want: ErrStep},
	{name: "a hard fork that is staged", on: on(upgrade(hardFork), staged...), do: CancelOperation{ID: rollID}, check: stands("", Canceled, "")},
	{name: "a hard fork that is armed", on: on(upgrade(hardFork), append(slices.Clone(staged), "arm a b c")...), do: CancelOperation{ID: rollID}, want: ErrStep},
	{name: "a hard fork", on: on(upgrade(hardFork), forked()...), do: CancelOperation{ID: rollID}, want: ErrStep},
	{name: "a hard fork that is through", on: on(upgrade(hardFork), forked("ok a", "ok b", "ok c", "resume")...), do: CancelOperation{ID: rollID}, want: ErrStep},
	{name: "what has ended", on: on(restart(), "cancel"), do: CancelOperation{ID: rollID}, want: ErrEnded},
	{name: "what nobody knows", on: homed, do: CancelOperation{ID: 99}, want: ErrOperation},
	{name: "a handoff", on: atStep(StepAwait), do: CancelOperation{ID: handoffID}, want: ErrStep},
	{name: "a rollout leaves its overlay for the next one", on: overlaid("restart b", "ok b"), do: CancelOperation{ID: 11}, check: all(stands("", Canceled, "b:c2"), taken("max-clients = 9", false))},
}

var homeRules = []rule{
	{name: "a member says what it runs", on: leased, do: putHome("b", Runs{Tag: "v1.0.0", Config: "c1", Offers: "c2", Auto: true}), check: func(s *State) bool {
		return s.Homes["b"] == Home{Runs: Runs{Tag: "v1.0.0", Config: "c1", Offers: "c2", Auto: true}} && len(s.Homes) == 1 && s.Level == 3
	}},
	{name: "a member does not say what it is to run", on: upgrading("switch b"), do: putHome("b", Runs{Tag: "v3.0.0"}), check: func(s *State) bool { return s.Homes["b"] == Home{Tag: "v2.0.0", Runs: Runs{Tag: "v3.0.0"}} }},
	{name: "a stranger", on: leased, do: putHome("x", Runs{Tag: "v1.0.0"}), want: ErrMember},
	{name: "a witness", on: leased, do: putHome("w", Runs{Tag: "v1.0.0"}), want: ErrMember},
	{name: "a tag of many lines", on: leased, do: putHome("b", Runs{Tag: "a\nb"}), want: ErrMemberBad},
	{name: "a long configuration", on: leased, do: putHome("b", Runs{Config: strings.Repeat("x", maxNamed+1)}), want: ErrMemberBad},
	{name: "a long offer", on: leased, do: putHome("b", Runs{Offers: strings.Repeat("x", maxNamed+1)}), want: ErrMemberBad},

	{name: "a member goes, and its home", on: homed, do: RemoveMember{ID: "b"}, check: func(s *State) bool { _, ok := s.Homes["b"]; return !ok && len(s.Homes) == 2 }},
	{name: "a member goes whose node is stopped", on: on(restart(), "restart b"), do: RemoveMember{ID: "b"}, want: ErrBusy},
	{name: "a member goes that was not begun", on: on(restart(), "restart b"), do: RemoveMember{ID: "c", Ban: true}, check: stands(StepRestart, Running, "", func(s *State, o Operation) bool { return o.members() == "a b" && len(o.Roll.Before) == 2 })},
	{name: "a member goes that is through", on: on(restart(), "restart b", "ok b"), do: RemoveMember{ID: "b"}, check: stands(StepRestart, Running, "", through(), func(_ *State, o Operation) bool { return o.members() == "a c" && len(o.Current().Parts) == 1 })},
	{name: "a member goes in the middle of its stage", on: on(upgrade(), "stage a b c", "ok a", "ok b"), do: RemoveMember{ID: "c"}, check: stands(StepStage, Running, "", func(s *State, o Operation) bool { return o.Current().Over() && len(o.Current().Parts) == 2 })},
	{name: "a member goes that failed: that it failed stays", on: upgrading("switch b", "bad b x"), do: RemoveMember{ID: "b"}, check: stands(StepSwitch, Running, "", func(s *State, o Operation) bool { return o.Current().Faults() == "b: x" })},
	{name: "a member goes from a rollout", on: overlaid("restart b", "ok b"), do: RemoveMember{ID: "c"}, check: stands(StepRestart, Running, "b:c2", func(_ *State, o Operation) bool { return len(o.Roll.Configs) == 2 })},
	{name: "who was to be rolled back is gone", on: then(upgrading("switch b", "bad b x"), with(RemoveMember{ID: "b"})), do: finish(3, StepSwitch, Failed), check: func(s *State) bool { _, ok := s.Homes["b"]; return !ok }},
	{name: "who was to be rolled back is gone, and another one has its name", on: then(upgrading("switch b", "bad b x"), with(RemoveMember{ID: "b"}, PutMember{member("b", 1)}, putHome("b", Runs{Tag: "v3.0.0"}))), do: finish(3, StepSwitch, Failed), check: stands("", Failed, "")},

	{name: "an overlay", on: homed, do: PatchCluster{Overlay: ptr("a = 1")}, check: func(s *State) bool {
		return s.Cluster.Overlay == "a = 1" && *s.Cluster.Proven == "" && s.Cluster.Overlaid == 10 && strings.HasSuffix(history(s).Text, ", another overlay, of 5 bytes")
	}},
	{name: "another overlay before the first one was proved", on: then(homed, with(PatchCluster{Overlay: ptr("a = 1")})), do: PatchCluster{Overlay: ptr("a = 2")}, check: func(s *State) bool {
		return s.Cluster.Overlay == "a = 2" && *s.Cluster.Proven == "" && s.Cluster.Overlaid == 11
	}},
	{name: "the overlay of before", on: then(homed, with(PatchCluster{Overlay: ptr("a = 1")})), do: PatchCluster{Overlay: ptr("")}, check: all(taken("", true), func(s *State) bool { return s.Cluster.Overlaid == 11 })},
	{name: "the same overlay", on: then(homed, with(PatchCluster{Overlay: ptr("a = 1")})), do: PatchCluster{Overlay: ptr("a = 1")}, check: all(taken("a = 1", false), func(s *State) bool { return s.Cluster.Overlaid == 10 })},
	{name: "an overlay as long as may be", on: homed, do: PatchCluster{Overlay: ptr(strings.Repeat("x", MaxOverlay))}, check: func(s *State) bool { return len(s.Cluster.Overlay) == MaxOverlay }},
	{name: "an overlay that is longer", on: homed, do: PatchCluster{Overlay: ptr(strings.Repeat("x", MaxOverlay+1))}, want: ErrConfig},
	{name: "take over", on: homed, do: PatchCluster{TakeOver: ptr(true)}, check: func(s *State) bool { return s.Cluster.TakeOver && s.Cluster.Overlaid == 0 }},
	{name: "the whole configuration leaves the overlay", on: then(homed, with(PatchCluster{Overlay: ptr("a = 1"), TakeOver: ptr(true)})), do: SetCluster{Cluster{Name: "demo", Producers: []string{"carol"}, Slots: 5}}, check: all(taken("a = 1", false), func(s *State) bool {
		return s.Cluster.TakeOver && s.Cluster.Overlaid == 10 && s.Cluster.Slots == 5
	})},
	{name: "the whole configuration with an overlay", on: homed, do: SetCluster{Cluster{Name: "demo", Producers: []string{"carol"}, Slots: 5, Overlay: "a = 1"}}, want: ErrConfig},
	{name: "the whole configuration with a take-over", on: homed, do: SetCluster{Cluster{Name: "demo", Producers: []string{"carol"}, Slots: 5, TakeOver: true}}, want: ErrConfig},
}

// TestNoRollingOperationBlocksTheNext: at whatever step an operation is, and whatever became of the cluster, it expires at its
// deadline and the next one starts; who is not through is to run what it ran before, and who is keeps what was proved.
func TestNoRollingOperationBlocksTheNext(t *testing.T) {
	type walk struct {
		start func(testing.TB) *State
		steps []string
	}
	walks := map[string]walk{
		"restart": {on(change(restart(), func(c *StartOperation) { c.Roll.TakeOver = true })), []string{"restart b", "ok b", "restart c", "ok c", "hand", "handoff c", "restart a", "ok a", "take"}},
		"upgrade": {on(upgrade(undoAll, func(u *Upgrade) { u.Snapshot, u.AtBlock = true, 7 })), []string{
			"stage a b c", "ok a", "ok b", "ok c", "trigger a b c", "ok c", "snapshot b", "ok b", "switch b", "ok b", "hand", "handoff b", "switch a", "ok a", "switch c", "bad c x",
			"undo c ! x", "ok c", "undo a", "ok a", "hand", "handoff a", "undo b", "ok b",
		}},
		"hard fork": {on(upgrade(hardFork)), append(append(slices.Clone(staged), "trigger a b c", "ok a", "arm a b c", "ok a", "ok b", "ok c"), "fork a b c", "bad a x", "ok b", "ok c", "resume")},
		"rollout":   {overlaid(), []string{"restart b", "ok b", "restart c", "ok c", "hand", "handoff c", "restart a", "bad a x", "undo a ! x", "ok a"}},
		"queued":    {then(on(restart("b")), with(queued(rollout()), CancelOperation{ID: rollID})), []string{"validate", "restart b", "ok b"}},
	}
	for name, w := range walks {
		for n := range len(w.steps) + 1 {
			for world, disturb := range map[string]func(*State) *State{
				"nothing": func(s *State) *State { return s },
				"failover": func(s *State) *State {
					return must(t, s, Grant{s.Lease.Epoch + 1, "b", s.Members["b"].Incarnation, s.Lease.Last + 1, s.Lease.Last + 4, "failover"})
				},
				"restarts": func(s *State) *State {
					return must(t, s, PutMember{member("a", 3)}, PutMember{member("b", 3)}, PutMember{member("c", 3)})
				},
				"homes": func(s *State) *State {
					return must(t, s, putHome("b", Runs{Tag: "v9", Config: "c9"}), putHome("c", Runs{}))
				},
				"gone": func(s *State) *State {
					for _, id := range []string{"b", "c"} {
						s, _ = s.Apply(stamp(s, RemoveMember{ID: id, Ban: true}))
					}
					return s
				},
				"recovered": func(s *State) *State {
					return s.Recovered(Recovery{By: "a", Lost: []string{"b", "c", "w"}, At: 9, Beyond: 500})
				},
				"canceled": func(s *State) *State { s, _ = s.Apply(word(t, s, "cancel")); return s },
			} {
				s := disturb(play(t, w.start(t), w.steps[:n]...))
				o := newest(t, s)
				at := fmt.Sprintf("%s, %d steps, %s, at %q", name, n, world, o.Current().Name)
				if o.Outcome == Running {
					next, r := s.Apply(word(t, s, "expire"))
					if r.Err != nil {
						t.Errorf("%s: does not expire: %v", at, r.Err)
						continue
					}
					s = next
				}
				settled(t, at, s, newest(t, s))
				e := stamp(s, change(restart("a"), func(c *StartOperation) { c.Deadline = 1 << 30 }))
				e.At = 1 << 30
				if _, r := s.Apply(e); r.Err != nil {
					t.Errorf("%s: the next one does not start: %v", at, r.Err)
				}
			}
		}
	}
}

// settled checks what an operation that has ended leaves behind: a member that was begun is to run what the operation wanted only
// where its part came through and was not begun to be taken back, or where the hard fork has one that came through; else it is to run
// what it ran when it was begun.
func settled(t failer, at string, s *State, o Operation) {
	t.Helper()
	if o.Outcome == Running || !o.Rolling() || o.Kind == KindRestart {
		return
	}
	begun := o.begun()
	for _, id := range o.Roll.Members {
		if _, ok := s.Members[id]; !ok {
			t.Errorf("%s: %s is gone and in the operation", at, id)
		}
		h, before, done := s.Homes[id], o.Roll.Before[id], slices.Contains(o.Roll.Done, id)
		is, was, want := h.Config, first(before.Config, before.Runs.Config), o.Roll.Configs[id]
		if u := o.Roll.Upgrade; u != nil {
			is, was, want = h.Tag, first(before.Tag, before.Runs.Tag), u.Tag
			done = done || u.HardFork && len(o.Roll.Done) > 0 && !slices.Contains(o.Roll.Undone, id)
		}
		switch {
		case !slices.Contains(begun, id):
		case done && is != want, !done && is != was, is == "" && was != "":
			t.Errorf("%s: %s is to run %q, ran %q, through %v, outcome %s", at, id, is, was, done, o.Outcome)
		case o.Kind == KindRollout && done == (h.Refused == want):
			t.Errorf("%s: %s, through %v, refuses %q", at, id, done, h.Refused)
		}
	}
	for id := range s.Homes {
		if _, ok := s.Members[id]; !ok {
			t.Errorf("%s: the home of %s, who is gone", at, id)
		}
	}
}

// A queued one may be turned to where nothing is before it, and says so.
func TestWaits(t *testing.T) {
	s := then(on(restart("b")), with(queued(restart("c")), queued(rollout())))(t)
	second, third := s.Operations[1], s.Operations[2]
	if !s.Waits(second) || !s.Waits(third) {
		t.Fatal("two that wait do not")
	}
	s = must(t, s, CancelOperation{ID: rollID})
	if s.Waits(second) || !s.Waits(third) {
		t.Fatal("only the oldest may begin")
	}
	s = must(t, s, CancelOperation{ID: second.ID})
	if s.Waits(third) {
		t.Fatal("there is nobody before it")
	}
}

// An upgrade that waited for another one, or whose members said late what they run, goes back to what they ran when they were begun.
func TestTheWayBackIsTakenWhenAMemberIsBegun(t *testing.T) {
	s := must(t, homed(t), upgrade(), queued(upgrade(func(u *Upgrade) { u.Tag = "v3.0.0" })))
	first := s.Operations[len(s.Operations)-2].ID
	turnFirst := func(n int, step string, members ...string) TurnOperation {
		return TurnOperation{ID: first, Number: n, Step: step, Members: members, Deadline: 70_000}
	}
	s = must(t, s, turnFirst(1, StepStage, "a", "b", "c"))
	for _, id := range []string{"a", "b", "c"} {
		s = must(t, s, report(2, id, over2))
	}
	s = must(t, s, turnFirst(2, StepSwitch, "b"), report(3, "b", over2), FinishOperation{ID: first, Number: 3, Step: StepSwitch, Outcome: Failed})
	s = play(t, s, "validate", "stage a b c", "ok a", "ok b", "ok c")
	s = must(t, s, putHome("c", Runs{Tag: "v1.5.0"}))
	s = play(t, s, "switch b", "ok b", "switch c", "bad c x", "failed")
	if got := wanted(s); got != "b=v3.0.0 c=v1.5.0" {
		t.Fatal(got)
	}
	if o := newest(t, s); o.Roll.Before["b"].Tag != "v2.0.0" {
		t.Fatalf("%+v", o.Roll.Before)
	}
}

// TestFaults: the same fault of several members is told once, with all of them before it.
func TestFaults(t *testing.T) {
	s := Step{Name: StepStage, Parts: []Part{{Member: "a", Fault: "404"}, {Member: "b"}, {Member: "c", Fault: "no room"}, {Member: "d", Fault: "404"}}}
	if got, want := s.Faults(), "a, d: 404; c: no room"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if s.Name = StepTrigger; s.Faults() != "" {
		t.Errorf("one that sees it is enough, but: %q", s.Faults())
	}
}
