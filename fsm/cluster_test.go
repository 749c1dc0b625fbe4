package fsm

import "testing"

func chained(t testing.TB) *State {
	return must(t, born(t), SetCluster{Cluster{Name: "demo", ChainID: "c0ffee", Producers: []string{"alice"}, Slots: 4}})
}

var clusterRules = []rule{
	{name: "birth", on: func(testing.TB) *State { return New() }, do: SetCluster{Cluster{Name: "demo", Producers: []string{"alice"}, Slots: MaxSlots}}, check: func(s *State) bool {
		return s.Cluster.Slots == MaxSlots && s.Cluster.Ours("alice") && !s.Cluster.Ours("bob")
	}},
	{name: "no name", on: func(testing.TB) *State { return New() }, do: SetCluster{Cluster{Producers: []string{"alice"}, Slots: 4}}, want: ErrConfig},
	{name: "another name", on: born, do: SetCluster{Cluster{Name: "other", Producers: []string{"alice"}, Slots: 4}}, want: ErrConfig},
	{name: "no slots", on: born, do: SetCluster{Cluster{Name: "demo", Producers: []string{"alice"}}}, want: ErrConfig},
	{name: "too many slots", on: born, do: SetCluster{Cluster{Name: "demo", Producers: []string{"alice"}, Slots: MaxSlots + 1}}, want: ErrConfig},
	{name: "no producer", on: born, do: SetCluster{Cluster{Name: "demo", Slots: 4}}, want: ErrConfig},
	{name: "a nameless producer", on: born, do: SetCluster{Cluster{Name: "demo", Producers: []string{"alice", ""}, Slots: 4}}, want: ErrConfig},
	{name: "the chain id is learned", on: born, do: SetCluster{Cluster{Name: "demo", ChainID: "c0ffee", Producers: []string{"alice"}, Slots: 4}}, check: func(s *State) bool { return s.Cluster.ChainID == "c0ffee" }},
	{name: "another chain id", on: chained, do: SetCluster{Cluster{Name: "demo", ChainID: "beef", Producers: []string{"alice"}, Slots: 4}}, want: ErrConfig},
	{name: "the chain id forgotten", on: chained, do: SetCluster{Cluster{Name: "demo", Producers: []string{"alice"}, Slots: 4}}, want: ErrConfig},
	{name: "maintenance", on: chained, do: SetCluster{Cluster{Name: "demo", ChainID: "c0ffee", Producers: []string{"alice"}, Slots: 4, Maintenance: true}}, check: func(s *State) bool { return s.Cluster.Maintenance }},
	{name: "patch slots", on: chained, do: PatchCluster{Slots: ptr(uint64(6))}, check: func(s *State) bool {
		return s.Cluster.Slots == 6 && s.Cluster.ChainID == "c0ffee" && s.Cluster.Producers[0] == "alice" && !s.Cluster.Maintenance && s.History[6].Kind == "cluster.set"
	}},
	{name: "patch all", on: chained, do: PatchCluster{Producers: &[]string{"bob", "carol"}, Slots: ptr(uint64(5)), Maintenance: ptr(true)}, check: func(s *State) bool {
		return s.Cluster.Slots == 5 && s.Cluster.Ours("carol") && !s.Cluster.Ours("alice") && s.Cluster.Maintenance
	}},
	{name: "patch nothing", on: chained, do: PatchCluster{}, want: ErrConfig},
	{name: "patch to no producer", on: chained, do: PatchCluster{Producers: &[]string{}}, want: ErrConfig},
	{name: "patch to too many slots", on: chained, do: PatchCluster{Slots: ptr(uint64(MaxSlots + 1))}, want: ErrConfig},
	{name: "patch before the birth", on: func(testing.TB) *State { return New() }, do: PatchCluster{Slots: ptr(uint64(5))}, want: ErrConfig},
	{name: "alarm", on: born, do: RaiseAlarm{"doubled", "a", "slot 7"}, check: func(s *State) bool {
		last := s.History[len(s.History)-1]
		return last.Kind == "alarm.doubled" && last.Subject == "a" && last.Text == "slot 7" && last.At == 6000 && last.Index == 6
	}},
	{name: "nameless alarm", on: born, do: RaiseAlarm{"", "a", "slot 7"}, want: ErrConfig},
}
