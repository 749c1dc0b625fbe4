package fsm

import (
	"testing"
)

func start(to, when string) StartOperation {
	return StartOperation{Name: KindHandoff, Handoff: &Handoff{To: to, When: when, From: "forged", Epoch: 99}, Deadline: 20_000}
}

func ended(t testing.TB) *State {
	s, id := handing(t, StepValidate)
	return must(t, s, FinishOperation{ID: id, Step: StepValidate, Outcome: Failed, Reason: "b is 9 slots behind"})
}

// overtaken: the holder died during the handoff, and the leader granted the lease to another.
func overtaken(step string) func(testing.TB) *State {
	return func(t testing.TB) *State {
		s, _ := handing(t, step)
		return must(t, s, Grant{s.Lease.Epoch + 1, "c", inc("c", 0), s.Lease.Last + 1, s.Lease.Last + 4, "failover"})
	}
}

func at(step string) func(*State) bool {
	return func(s *State) bool {
		o, _ := s.Operation(handoffID)
		return o.Current().Name == step && len(s.RunningOperations()) == 1
	}
}

func over(outcome Outcome, reason string) func(*State) bool {
	return func(s *State) bool {
		o, _ := s.Operation(handoffID)
		return o.Outcome == outcome && o.Reason == reason && o.Ended > 0 && o.Current().Name == "" && len(s.RunningOperations()) == 0 &&
			s.History[len(s.History)-1].Kind == "operation."+string(outcome)
	}
}

var operationRules = []rule{
	{name: "start", on: leased, do: start("b", "safe"), check: func(s *State) bool {
		o, ok := s.Operation(handoffID) // from and epoch come from the state, not from the request
		return ok && at(StepValidate)(s) && *o.Handoff == Handoff{"b", "safe", "a", 1} && o.Deadline == 20_000 && o.Started == 7000
	}},
	{name: "start now", on: leased, do: start("c", "now"), check: at(StepValidate)},
	{name: "start at some other time", on: leased, do: start("b", "later"), want: ErrHandoff},
	{name: "start to a stranger", on: leased, do: start("x", "safe"), want: ErrMember},
	{name: "start to a witness", on: leased, do: start("w", "safe"), want: ErrHolder},
	{name: "start to the holder", on: leased, do: start("a", "safe"), want: ErrHandoff},
	{name: "start without a lease", on: born, do: start("b", "safe"), want: ErrHandoff},
	{name: "start after a release", on: released, do: start("b", "safe"), want: ErrHandoff},
	{name: "start what nobody knows", on: leased, do: StartOperation{Name: "dance", Handoff: &Handoff{To: "b", When: "safe"}}, want: ErrOperation},
	{name: "start without what it needs", on: leased, do: StartOperation{Name: KindHandoff}, want: ErrOperation},
	{name: "start with a deadline in a year", on: leased, do: StartOperation{Name: KindHandoff, Handoff: &Handoff{To: "b", When: "safe"}, Deadline: 1 << 35}, want: ErrDeadline},
	{name: "start while one runs", on: atStep(StepVerify), do: start("c", "safe"), want: ErrBusy},
	{name: "start after one ended", on: ended, do: start("c", "safe"), check: func(s *State) bool { return len(s.Operations) == 2 && len(s.RunningOperations()) == 1 }},

	{name: "advance", on: atStep(StepValidate), do: AdvanceOperation{handoffID, StepValidate, StepAwait, "a", 70_000}, check: func(s *State) bool {
		o, _ := s.Operation(handoffID)
		return at(StepAwait)(s) && o.Current().Assignee == "a" && o.Deadline == 70_000 && len(o.Steps) == 2
	}},
	{name: "advance twice", on: atStep(StepAwait), do: AdvanceOperation{handoffID, StepValidate, StepAwait, "a", 70_000}, want: ErrStep},
	{name: "advance past a step", on: atStep(StepValidate), do: AdvanceOperation{handoffID, StepValidate, StepStop, "a", 70_000}, want: ErrStep},
	{name: "advance backwards", on: atStep(StepStop), do: AdvanceOperation{handoffID, StepStop, StepAwait, "a", 70_000}, want: ErrStep},
	{name: "advance around the transfer", on: atStep(StepStop), do: AdvanceOperation{handoffID, StepStop, StepStart, "b", 70_000}, want: ErrStep},
	{name: "advance to nowhere", on: atStep(StepStop), do: AdvanceOperation{handoffID, StepStop, "", "b", 70_000}, want: ErrStep},
	{name: "advance from nowhere", on: atStep(StepStop), do: AdvanceOperation{handoffID, "", "", "b", 70_000}, want: ErrStep},
	{name: "advance past the end", on: atStep(StepVerify), do: AdvanceOperation{handoffID, StepVerify, "", "", 70_000}, want: ErrStep},
	{name: "advance after the target started", on: atStep(StepStart), do: AdvanceOperation{handoffID, StepStart, StepVerify, "", 70_000}, check: at(StepVerify)},
	{name: "advance when the lease has moved on", on: overtaken(StepAwait), do: AdvanceOperation{handoffID, StepAwait, StepStop, "a", 70_000}, want: ErrEpoch},
	{name: "advance what is not there", on: leased, do: AdvanceOperation{99, StepValidate, StepAwait, "a", 70_000}, want: ErrOperation},
	{name: "advance what has ended", on: ended, do: AdvanceOperation{handoffID, StepValidate, StepAwait, "a", 70_000}, want: ErrEnded},
	{name: "advance with a deadline in a year", on: atStep(StepValidate), do: AdvanceOperation{handoffID, StepValidate, StepAwait, "a", 1 << 35}, want: ErrDeadline},

	{name: "finish", on: atStep(StepVerify), do: FinishOperation{ID: handoffID, Step: StepVerify, Outcome: Done, Reason: ""}, check: over(Done, "")},
	{name: "finish before anything was done", on: atStep(StepValidate), do: FinishOperation{ID: handoffID, Step: StepValidate, Outcome: Done, Reason: ""}, want: ErrStep},
	{name: "finish at another step", on: atStep(StepStart), do: FinishOperation{ID: handoffID, Step: StepVerify, Outcome: Done, Reason: ""}, want: ErrStep},
	{name: "finish at no step", on: atStep(StepVerify), do: FinishOperation{ID: handoffID, Step: "", Outcome: Done, Reason: ""}, want: ErrStep},
	{name: "finish without an outcome", on: atStep(StepVerify), do: FinishOperation{ID: handoffID, Step: StepVerify, Outcome: Running, Reason: ""}, want: ErrStep},
	{name: "finish as expired", on: atStep(StepVerify), do: FinishOperation{ID: handoffID, Step: StepVerify, Outcome: Expired, Reason: ""}, want: ErrStep},
	{name: "finish twice", on: ended, do: FinishOperation{ID: handoffID, Step: StepValidate, Outcome: Failed, Reason: ""}, want: ErrEnded},
	{name: "finish what is not there", on: leased, do: FinishOperation{ID: 99, Step: StepVerify, Outcome: Done, Reason: ""}, want: ErrOperation},
	{name: "fail", on: atStep(StepAwait), do: FinishOperation{ID: handoffID, Step: StepAwait, Outcome: Failed, Reason: "no gap"}, check: over(Failed, "no gap")},
	{name: "cancel at any step", on: atStep(StepStop), do: FinishOperation{ID: handoffID, Step: "", Outcome: Canceled, Reason: "by the operator"}, check: over(Canceled, "by the operator")},
	{name: "cancel at a step that is over", on: atStep(StepStop), do: FinishOperation{ID: handoffID, Step: StepAwait, Outcome: Canceled, Reason: ""}, want: ErrStep},
	{name: "cancel what has ended", on: ended, do: FinishOperation{ID: handoffID, Step: "", Outcome: Canceled, Reason: ""}, want: ErrEnded},

	{name: "expire", on: atStep(StepAwait), do: ExpireOperation{ID: handoffID, Step: StepAwait}, at: 30_001, check: over(Expired, "step await window was not done in time")},
	{name: "expire when overtaken", on: overtaken(StepStop), do: ExpireOperation{ID: handoffID, Step: StepStop}, at: 40_001, check: over(Expired, "step stop was not done in time")},
	{name: "expire too early", on: atStep(StepAwait), do: ExpireOperation{ID: handoffID, Step: StepAwait}, at: 30_000, want: ErrDeadline},
	{name: "expire a step that is over", on: atStep(StepAwait), do: ExpireOperation{ID: handoffID, Step: StepValidate}, at: 30_001, want: ErrStep},
	{name: "expire no step", on: atStep(StepAwait), do: ExpireOperation{ID: handoffID, Step: ""}, at: 30_001, want: ErrStep},
	{name: "expire what has ended", on: ended, do: ExpireOperation{ID: handoffID, Step: StepValidate}, at: 30_001, want: ErrEnded},
	{name: "expire what is not there", on: leased, do: ExpireOperation{ID: 99, Step: StepAwait}, at: 30_001, want: ErrOperation},
}

// Every ended operation is remembered up to a bound; one that runs is never forgotten.
func TestOperationsAreBounded(t *testing.T) {
	s := leased(t)
	for range maxOperations + 10 {
		id := s.Index + 1
		op := start("b", "now")
		op.Deadline = 0
		s = must(t, s, op, FinishOperation{ID: id, Outcome: Canceled})
	}
	if len(s.Operations) != maxOperations {
		t.Fatalf("%d operations are remembered", len(s.Operations))
	}
	op := start("b", "now")
	op.Deadline = 0
	s = must(t, s, op)
	if len(s.Operations) != maxOperations || len(s.RunningOperations()) != 1 || s.Operations[len(s.Operations)-1].Outcome != Running {
		t.Fatalf("%d operations, %d running", len(s.Operations), len(s.RunningOperations()))
	}
}

// No state of the lease, the members or the clock keeps a handoff running for ever: from every step it can be cancelled,
// and expires after its deadline.
func TestNoHandoffBlocksTheNext(t *testing.T) {
	for _, step := range []string{StepValidate, StepAwait, StepStop, StepStart, StepVerify} {
		for name, disturb := range map[string]func(*State) *State{
			"nothing":  func(s *State) *State { return s },
			"failover": func(s *State) *State { return overtaken(step)(t) },
			"target gone": func(s *State) *State {
				if s.Lease.Holder == "b" {
					return s
				}
				return must(t, s, RemoveMember{ID: "b"})
			},
			"all restarted": func(s *State) *State { return must(t, s, PutMember{member("a", 1)}, PutMember{member("b", 1)}) },
			"released": func(s *State) *State {
				return must(t, s, Release{Epoch: s.Lease.Epoch, Incarnation: s.Lease.Incarnation, Signed: s.Lease.Last})
			},
		} {
			s, id := handing(t, step)
			s = disturb(s)
			must(t, s, FinishOperation{ID: id, Outcome: Canceled})
			e := stamp(s, ExpireOperation{ID: id, Step: step})
			e.At = 100_000
			next, r := s.Apply(e)
			if r.Err != nil || len(next.RunningOperations()) != 0 {
				t.Errorf("%s, %s: the handoff does not expire: %v", step, name, r.Err)
			}
		}
	}
}
