package sim_test

import "strings"

// event is one step or several until the cluster was whole again.
type event struct {
	steps  []step
	at     uint64 // slots from here to the next event are its doing
	until  uint64
	missed []uint64
}

func (e event) kind() string {
	var names []string
	for _, st := range e.steps {
		name := st.Kind
		if st.Who != "" && st.Kind != "handoff" {
			name += " " + st.Who
		}
		if st.Way != "" {
			name += " " + st.Way
		}
		names = append(names, name)
	}
	if len(names) > 2 {
		return "storm"
	}
	return strings.Join(names, " + ")
}

// group is the kind, coarser where it is several.
func (e event) group() string {
	switch {
	case len(e.steps) > 2:
		return "storm"
	case len(e.steps) == 2:
		return e.steps[0].Kind + " + " + e.steps[1].Kind
	}
	return e.kind()
}

func (e event) limit() int {
	switch {
	case len(e.steps) == 1:
		return kinds[e.steps[0].Kind].limit(e.steps[0])
	case len(e.steps) == 2 && e.steps[0].Kind == "operation":
		return kinds[e.steps[1].Kind].limit(e.steps[1]) + 6 // the holder moves meanwhile, to whom the trouble may be
	case e.group() == "handoff + kill":
		return 6
	}
	return unlimited
}
