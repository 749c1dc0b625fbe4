package fsm

import (
	"slices"
	"testing"

	"roundtable/chain"
)

func inRound(t testing.TB) *State {
	return must(t, leased(t), PutRound{3, []string{"alice", "carol"}, map[string]ProducerRound{"alice": {ProducingNow, true}, "bob": {NotProducing, false}}, 50})
}

// counted has as many finished windows as are remembered: from slot 1200 on, each second one.
func counted(t testing.TB) *State {
	s := born(t)
	for i := range maxWindows {
		s = must(t, s, PutWindow{Window{"alice", chain.Slot(1200 + 24*i), 12, 12, 0}})
	}
	return s
}

func ordered(s *State) bool {
	return len(s.Round.Windows) <= maxWindows && slices.IsSortedFunc(s.Round.Windows, func(a, b Window) int { return int(a.First) - int(b.First) })
}

var roundRules = []rule{
	{name: "a standing", on: inRound, do: PutRound{3, []string{"alice", "carol"}, map[string]ProducerRound{"alice": {JustProduced, true}}, 51}, check: func(s *State) bool {
		return s.Round.Window == 51 && s.Round.Producers["alice"].State == JustProduced && len(s.Round.Producers) == 1
	}},
	{name: "a new schedule", on: inRound, do: PutRound{4, []string{"carol"}, nil, 51}, check: func(s *State) bool {
		return s.Round.Version == 4 && s.History[len(s.History)-1].Kind == "round.schedule"
	}},
	{name: "unknown is said", on: inRound, do: PutRound{3, nil, map[string]ProducerRound{"alice": {Unknown, false}}, 51}, check: func(s *State) bool { return s.Round.Producers["alice"].State == Unknown }},
	{name: "a state out of the air", on: inRound, do: PutRound{3, nil, map[string]ProducerRound{"alice": {"mining", true}}, 51}, want: ErrRound},
	{name: "another's producer", on: inRound, do: PutRound{3, nil, map[string]ProducerRound{"carol": {Unknown, true}}, 51}, want: ErrRound},
	{name: "late", on: inRound, do: PutRound{3, nil, nil, 49}, want: ErrRound},
	{name: "after a wrong clock", on: inRound, do: PutRound{3, nil, nil, 50 - lateWindows - 1}, check: func(s *State) bool { return s.Round.Window == 50-lateWindows-1 }},

	{name: "a window", on: born, do: PutWindow{Window{"alice", 1200, 12, 12, 0}}, check: func(s *State) bool { return len(s.Round.Windows) == 1 && len(s.History) == 5 }},
	{name: "a window seen in part", on: born, do: PutWindow{Window{"alice", 1200, 5, 3, 2}}, check: func(s *State) bool { return s.History[5].Kind == "round.missed" }},
	{name: "a window counted again", on: counted, do: PutWindow{Window{"alice", 1224, 12, 10, 2}}, check: func(s *State) bool {
		return len(s.Round.Windows) == maxWindows && s.Round.Windows[1].Missed == 2 && ordered(s)
	}},
	{name: "one window more", on: counted, do: PutWindow{Window{"alice", 12000, 12, 12, 0}}, check: func(s *State) bool {
		return len(s.Round.Windows) == maxWindows && s.Round.Windows[0].First == 1224 && ordered(s)
	}},
	{name: "a window that comes late", on: counted, do: PutWindow{Window{"alice", 1212, 12, 12, 0}}, check: ordered},
	{name: "a window long forgotten", on: counted, do: PutWindow{Window{"alice", 12, 12, 12, 0}}, want: ErrRound},
	{name: "half a window", on: born, do: PutWindow{Window{"alice", 1201, 12, 12, 0}}, want: ErrRound},
	{name: "thirteen slots", on: born, do: PutWindow{Window{"alice", 1200, 13, 13, 0}}, want: ErrRound},
	{name: "slots that do not add up", on: born, do: PutWindow{Window{"alice", 1200, 12, 12, 1}}, want: ErrRound},
	{name: "less than nothing", on: born, do: PutWindow{Window{"alice", 1200, 12, 13, -1}}, want: ErrRound},
	{name: "another's window", on: born, do: PutWindow{Window{"carol", 1200, 12, 12, 0}}, want: ErrRound},
}
