package fsm

import (
	"slices"
	"strings"
)

// startRolling fills in what the state knows, and refuses what cannot be done.
func (s *State) startRolling(c StartOperation, e Entry, o *Operation) error {
	r := *c.Roll
	r.Before, r.Done, r.Undone, r.Fault, r.Cancel, r.Overlaid = nil, nil, nil, "", false, 0
	if len(r.Members) == 0 {
		r.Members = nil // nothing is appended to what the command has
		for _, id := range s.MemberIDs() {
			if !s.Members[id].Witness {
				r.Members = append(r.Members, id)
			}
		}
	}
	switch {
	case (c.Name == KindUpgrade) != (r.Upgrade != nil):
		return ErrAsked.with("a %s that does not say which version", c.Name)
	case (c.Name == KindRollout) != (len(r.Configs) > 0):
		return ErrAsked.with("a %s that does not say which configuration", c.Name)
	case c.Name == KindUpgrade && r.TakeOver:
		return ErrAsked.with("after an upgrade nobody takes over")
	case r.Limit <= 0 || r.Limit > MaxStep:
		return ErrAsked.with("%d ms for each member: 1 to %d", r.Limit, MaxStep)
	case len(r.Members) == 0:
		return ErrAsked.with("no member has a node")
	}
	for i, id := range r.Members {
		m, ok := s.Members[id]
		switch {
		case !ok:
			return ErrMember.with("%q", id)
		case m.Witness:
			return ErrMember.with("%q is a witness: it has no node", id)
		case slices.Contains(r.Members[:i], id):
			return ErrAsked.with("%q is named twice", id)
		case c.Name == KindRollout && !named(r.Configs[id]):
			return ErrAsked.with("no configuration for %q", id)
		}
	}
	if c.Name == KindRollout {
		if len(r.Configs) != len(r.Members) {
			return ErrAsked.with("a configuration for somebody else")
		}
		if !slices.ContainsFunc(r.Members, func(id string) bool { return s.Homes[id].Runs.Overlaid != s.Cluster.Overlaid }) {
			r.Overlaid = s.Cluster.Overlaid // else it is about an earlier one, and tells nothing of this one
		}
	}
	if u := r.Upgrade; u != nil {
		if err := u.check(); err != nil {
			return err
		}
	}
	r.Before = s.before(r.Members)
	o.Roll = &r
	first := StepValidate
	if other, ok := s.blocker(*o); ok && !c.Queue {
		return ErrBusy.with("%s %d, at step %q", other.Kind, other.ID, other.Current().Name)
	} else if ok {
		first = StepQueued
	} else if c.Queue {
		if err := s.lasts(e, StepQueued, o.Deadline); err != nil {
			return err
		}
		o.Deadline = e.At + PlanTime // it was for a wait
	}
	o.Steps = []Step{{Name: first, Since: e.At}}
	return nil
}

// check refuses an upgrade that says what cannot be.
func (u Upgrade) check() error {
	if !tagged(u.Tag) {
		return ErrAsked.with("%q is no version", clip(u.Tag))
	}
	row := TableRow{Code: "-", Table: "-", Field: "-"}
	if u.Row != nil {
		row = *u.Row
	}
	for _, text := range []string{u.Feature, row.Code, row.Scope, row.Table, row.Key, row.Field} {
		if text != "" && !named(text) {
			return ErrAsked.with("%q: at most %d bytes, none of them a control character", clip(text), maxNamed)
		}
	}
	switch {
	case u.SHA256 != "" && !hashed(u.SHA256):
		return ErrAsked.with("sha256 is 64 hex digits")
	case u.HardFork && (u.AtBlock == 0 || u.Feature != "" || u.Row != nil || u.UndoAll || u.Snapshot):
		return ErrAsked.with("a hard fork is at a block, and nothing but a block; make a chain snapshot before it")
	case row.Code == "" || row.Table == "" || row.Field == "":
		return ErrAsked.with("a row is named by code, table and field")
	case len(row.Value) > maxText:
		return ErrAsked.with("a value of %d bytes: at most %d are taken", len(row.Value), maxText)
	case u.triggers() > 1:
		return ErrAsked.with("at a block, at a feature or at a row: one of them")
	}
	return nil
}

// triggers counts what an upgrade waits for once it is staged.
func (u Upgrade) triggers() (n int) {
	for _, is := range []bool{u.AtBlock != 0, u.Feature != "", u.Row != nil} {
		if is {
			n++
		}
	}
	return n
}

// maxTag bounds the tag of a version, in bytes.
const maxTag = 64

// tagged reports whether a text may be the tag of a version, which is the name of a folder: node/versions says the same.
func tagged(text string) bool {
	letter := func(r rune) bool { return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
	return text != "" && len(text) <= maxTag && letter(rune(text[0])) &&
		!strings.ContainsFunc(text, func(r rune) bool { return !letter(r) && !strings.ContainsRune("._+-", r) })
}

// Waits reports whether an operation that is queued has to wait for others.
func (s *State) Waits(o Operation) bool {
	_, waits := s.WaitsFor(o)
	return waits
}

// WaitsFor is the first one that it has to wait for.
func (s *State) WaitsFor(o Operation) (Operation, bool) {
	if o.Task != nil {
		return s.taskBlocker(o)
	}
	return s.blocker(o)
}

// blocker finds what a rolling operation that is not there yet, or queued, has to wait for: an upgrade for another one, what stops
// nodes at once for any that may stop some or moves production, and both for their like that were queued before. For what is done with
// backups it waits only while a node is stopped.
func (s *State) blocker(o Operation) (Operation, bool) {
	for _, other := range s.RunningOperations() {
		if other.Task != nil && !other.Disruptive() {
			continue
		}
		upgrades := o.Kind == KindUpgrade && other.Kind == KindUpgrade
		disturbs := o.Kind != KindUpgrade && other.Kind != KindUpgrade
		switch queued := other.Current().Name == StepQueued; {
		case other.ID == o.ID:
		case queued && other.ID < o.ID && (upgrades || disturbs), !queued && upgrades, o.Kind != KindUpgrade && other.Disruptive():
			return other, true
		}
	}
	return Operation{}, false
}
