package fsm

import (
	"slices"
)

// Home is what a member's node is to run, and what it runs as the member says. Version 3.
type Home struct {
	Tag     string `json:"tag,omitempty"`     // the version it is to run; "": what is there
	Config  string `json:"config,omitempty"`  // hash of the configuration it is to run; "": what is there
	Runs    Runs   `json:"runs,omitzero"`     // as the member said
	Refused string `json:"refused,omitempty"` // hash of a configuration that failed there

	Restored int64 `json:"restored,omitempty"` // Unix ms, when its node's data was last to be replaced by a backup; version 4
}

// Runs is what a member says of its node.
type Runs struct {
	Tag    string `json:"tag,omitempty"`
	Config string `json:"config,omitempty"` // hash
	Offers string `json:"offers,omitempty"` // hash of a configuration that lies there and waits to be rolled out
	Auto   bool   `json:"auto,omitempty"`   // what it offers is rolled out without being asked for

	Overlaid uint64 `json:"overlaid,omitempty"` // Cluster.Overlaid of the overlay that this is said of
}

// PutHome is what a member says of its node's version and configuration. Version 3.
type PutHome struct {
	Member string `json:"member"`
	Runs   Runs   `json:"runs"`
}

// Kind names the entry.
func (PutHome) Kind() string { return "home.put" }

func (c PutHome) apply(s *State, _ Entry) error {
	if m, ok := s.Members[c.Member]; !ok || m.Witness {
		return ErrMember.with("%q", c.Member)
	}
	for _, text := range []string{c.Runs.Tag, c.Runs.Config, c.Runs.Offers} {
		if text != "" && !named(text) {
			return ErrMemberBad.with("%q", clip(text))
		}
	}
	h := s.Homes[c.Member]
	h.Runs = c.Runs
	s.Homes = withKey(s.Homes, c.Member, h)
	return nil
}

// want sets what the members of a step are to run from now on, and books in r what they were to run before they were begun.
func (s *State) want(kind string, step Step, r *Roll) {
	if !working(step.Name) || kind == KindRestart {
		return
	}
	for _, p := range step.Parts {
		if step.Name == StepUndo {
			s.unwant(p.Member, kind, *r)
			continue
		}
		h := s.Homes[p.Member]
		r.Before = withKey(r.Before, p.Member, h)
		switch kind {
		case KindUpgrade:
			h.Tag = r.Upgrade.Tag
		case KindRollout:
			if h.Config = r.Configs[p.Member]; h.Refused == h.Config {
				h.Refused = "" // somebody wants it tried again
			}
		}
		s.Homes = withKey(s.Homes, p.Member, h)
	}
}

// unwant lets a member run again what it was to run, or ran, before the operation.
func (s *State) unwant(member, kind string, r Roll) {
	h, before := s.Homes[member], r.Before[member]
	switch kind {
	case KindUpgrade:
		h.Tag = first(before.Tag, before.Runs.Tag)
	case KindRollout:
		h.Config, h.Refused = first(before.Config, before.Runs.Config), r.Configs[member]
	}
	s.Homes = withKey(s.Homes, member, h)
}

// endHomes puts right what an operation that ends leaves behind: who was begun and is not through is to run again what it ran
// before, and an overlay with which somebody's node failed is taken back. A hard fork that one came through is where all belong.
func (s *State) endHomes(e Entry, o Operation) {
	r, failed := o.Roll, false
	if o.Kind == KindRestart {
		return
	}
	for _, id := range o.begun() {
		if !slices.Contains(r.Members, id) || slices.Contains(r.Done, id) {
			continue
		}
		failed = true
		if r.Upgrade == nil || !r.Upgrade.HardFork || len(r.Done) == 0 {
			s.unwant(id, o.Kind, *r)
		}
	}
	c := &s.Cluster
	switch {
	case o.Kind != KindRollout || c.Proven == nil || c.Overlaid != r.Overlaid: // another one was written meanwhile: its own rollout tells
	case o.Outcome == Done:
		c.Proven = nil
	case failed:
		c.Overlay, c.Proven, c.Overlaid = *c.Proven, nil, e.Index
		s.note(e, "cluster.overlay", c.Name, "taken back: %s %d failed with it", o.Kind, o.ID)
	}
}

// forget takes a member that is gone out of what is to be run, and out of the operations that run: it has no part in a step any more,
// but for one that stopped its node or is on a backup, which failed with it.
func (s *State) forget(e Entry, id string) {
	s.Homes = without(s.Homes, id)
	for i, o := range s.Operations {
		if o.Outcome != Running || !o.stepped() {
			continue
		}
		if o.Roll != nil {
			r := *o.Roll
			r.Members, r.Done, r.Undone = but(r.Members, id), but(r.Done, id), but(r.Undone, id)
			r.Before, r.Configs = without(r.Before, id), without(r.Configs, id)
			o.Roll = &r
		} else {
			t := *o.Task
			t.Avoid = but(t.Avoid, id)
			o.Task = &t
		}
		o.Steps = slices.Clone(o.Steps)
		last := &o.Steps[len(o.Steps)-1]
		last.Parts = slices.Clone(last.Parts)
		switch at := slices.IndexFunc(last.Parts, func(p Part) bool { return p.Member == id && p.Ended == 0 }); {
		case at < 0:
		case working(last.Name) || o.Task != nil:
			last.Parts[at].Ended, last.Parts[at].Fault = max(e.At, 1), "it is no member any more"
		default:
			last.Parts = slices.Delete(last.Parts, at, at+1)
		}
		s.Operations = slices.Clone(s.Operations)
		s.Operations[i] = o
	}
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
