package fsm

// maxPlans bounds the plans.
const maxPlans = 64

// Plan is an operation on backups that comes again and again. It is due at a time or at a block; what it does then is one entry, which
// also says when it is due next, so that it fires once however many members think that they lead. Version 4.
type Plan struct {
	ID       string `json:"id"`
	Name     string `json:"kind"`               // of the operation: backup, verify or sweep
	Task     Task   `json:"task"`               // of a verification without a backup: the newest one that was not verified
	Every    int64  `json:"every,omitempty"`    // ms from one to the next
	Cron     string `json:"cron,omitempty"`     // five fields, UTC
	Blocks   uint32 `json:"blocks,omitempty"`   // from one to the next; exactly one of the three is given
	Jitter   int64  `json:"jitter,omitempty"`   // ms: by up to so much later than it would be, a little different each time
	Blackout int64  `json:"blackout,omitempty"` // ms before and after each window of ours in which it does not fire, where the schedule leaves such a gap
	CatchUp  bool   `json:"catch_up,omitempty"` // one that was missed is made up for, once; else it is left out
	Late     int64  `json:"late,omitempty"`     // ms after which it counts as missed; 0: when it is due again
	Tries    int    `json:"tries,omitempty"`    // how often one that fails is tried again, at most
	Disabled bool   `json:"disabled,omitempty"`

	// What follows is the state's own.

	Due       int64  `json:"due,omitempty"`       // Unix ms
	DueBlock  uint32 `json:"due_block,omitempty"` // head
	Try       int    `json:"try,omitempty"`       // how often the last firing was tried again
	Fired     int64  `json:"fired,omitempty"`     // Unix ms, the last time
	FiredAt   int64  `json:"fired_for,omitempty"` // the Due, or block, that it was for
	Operation uint64 `json:"operation,omitempty"` // that it started last
	Count     uint64 `json:"count,omitempty"`     // of firings
	Skipped   uint64 `json:"skipped,omitempty"`
	Why       string `json:"why,omitempty"` // the last one was skipped
	Actor     string `json:"actor,omitempty"`
}

// PutPlan adds a plan, or changes one: then what it did so far is kept. Due and DueBlock are when it is due first. Version 4.
type PutPlan struct {
	Plan Plan `json:"plan"`
}

// SetPlan switches a plan off or on; it is due then when the entry says. Version 4.
type SetPlan struct {
	ID       string `json:"id"`
	Disabled bool   `json:"disabled"`
	Due      int64  `json:"due,omitempty"`
	DueBlock uint32 `json:"due_block,omitempty"`
}

// RemovePlan removes a plan; what it started goes on. Version 4.
type RemovePlan struct {
	ID string `json:"id"`
}

// FirePlan does what is due: it starts the operation, or skips it. Due, DueBlock and Try must be the plan's, so that of several only the first
// has an effect. Of a try again, and of one that an operator asks for (Now), the next time stays. Version 4.
type FirePlan struct {
	ID        string          `json:"id"`
	Due       int64           `json:"due,omitempty"`
	DueBlock  uint32          `json:"due_block,omitempty"`
	Try       int             `json:"try,omitempty"` // the plan's; 0 but of a try again
	Again     bool            `json:"again,omitempty"`
	Now       bool            `json:"now,omitempty"`
	Next      int64           `json:"next,omitempty"`       // when it is due next
	NextBlock uint32          `json:"next_block,omitempty"` //
	Skip      string          `json:"skip,omitempty"`       // why nothing is started
	Start     *StartOperation `json:"start,omitempty"`      // of the plan's kind
}

// Kind names the entry.
func (PutPlan) Kind() string { return "plan.put" }

// Kind names the entry.
func (SetPlan) Kind() string { return "plan.set" }

// Kind names the entry.
func (RemovePlan) Kind() string { return "plan.remove" }

// Kind names the entry.
func (FirePlan) Kind() string { return "plan.fire" }

func (c FirePlan) clipped() Command {
	c.Skip = clip(c.Skip)
	return c
}

// check refuses a plan that says what cannot be.
func (p Plan) check(s *State) error {
	ways := 0
	for _, is := range []bool{p.Every != 0, p.Cron != "", p.Blocks != 0} {
		if is {
			ways++
		}
	}
	t := p.Task
	switch {
	case !backupID(p.ID):
		return ErrPlan.with("%q: small letters, digits and '-', at most %d", clip(p.ID), maxBackupID)
	case p.Name != KindBackup && p.Name != KindVerify && p.Name != KindSweep:
		return ErrPlan.with("%q is not what a plan does: %s, %s or %s", clip(p.Name), KindBackup, KindVerify, KindSweep)
	case ways != 1:
		return ErrPlan.with("it is due every so often, by a cron expression, or every so many blocks: one of them")
	case p.Every < 0 || p.Every > 0 && p.Every < 1000, p.Jitter < 0 || p.Jitter > MaxTask, p.Blackout < 0 || p.Blackout > MaxStep, p.Late < 0, p.Tries < 0 || p.Tries > 16:
		return ErrPlan.with("every %d ms, jitter %d ms, blackout %d ms, late after %d ms, %d tries", p.Every, p.Jitter, p.Blackout, p.Late, p.Tries)
	case p.Cron != "" && !named(p.Cron):
		return ErrPlan.with("cron %q", clip(p.Cron))
	case (p.Blocks != 0) != (p.DueBlock != 0) || (p.Blocks == 0) != (p.Due != 0) || p.Due < 0:
		return ErrPlan.with("when it is due first is not said, or not in the way that it comes")
	case t.Backup != "" || len(t.Avoid) > 0 || t.Auto || t.Plan != "":
		return ErrPlan.with("its task says what only a firing says")
	}
	if t.Limit == 0 { // it is said when it fires
		t.Limit = MaxTask
	}
	return s.shaped(p.Name, t)
}

func (c PutPlan) apply(s *State, e Entry) error {
	p := c.Plan
	if err := p.check(s); err != nil {
		return err
	}
	old, known := s.Plans[p.ID]
	if !known && len(s.Plans) >= maxPlans {
		return ErrPlan.with("there are %d already", len(s.Plans))
	}
	if (p.Blocks != 0) != (old.Blocks != 0) { // it was for a time and is for a block now, or the other way round
		old.FiredAt = 0
	}
	if err := old.fired(p.ID, p.Due, p.DueBlock); err != nil {
		return err
	}
	p.Try, p.Fired, p.FiredAt, p.Operation, p.Count, p.Skipped, p.Why = 0, old.Fired, old.FiredAt, old.Operation, old.Count, old.Skipped, old.Why
	p.Actor, p.Task.Cancel = clip(e.Actor), false
	s.Plans = withKey(s.Plans, p.ID, p)
	s.note(e, "plan.put", p.ID, "%s in %s", p.Name, p.Task.Repository)
	return nil
}

func (c SetPlan) apply(s *State, e Entry) error {
	p, ok := s.Plans[c.ID]
	if !ok {
		return ErrNoPlan.with("%q", clip(c.ID))
	}
	switch {
	case c.Disabled:
	case p.Blocks != 0 && (c.DueBlock == 0 || c.Due != 0), p.Blocks == 0 && (c.Due <= 0 || c.DueBlock != 0):
		return ErrPlan.with("when it is due is not said, or not in the way that it comes")
	default:
		if err := p.fired(c.ID, c.Due, c.DueBlock); err != nil {
			return err
		}
		p.Due, p.DueBlock, p.Try = c.Due, c.DueBlock, 0
	}
	p.Disabled = c.Disabled
	s.Plans = withKey(s.Plans, p.ID, p)
	s.note(e, "plan.set", p.ID, "disabled %v", p.Disabled)
	return nil
}

// fired reports that a plan was due then already, or nil: an entry that comes twice must not make it fire twice.
func (p Plan) fired(id string, due int64, block uint32) error {
	if max(due, int64(block)) <= p.FiredAt {
		return ErrPlan.with("%q was due at %d already, it cannot be due at %d again", id, p.FiredAt, max(due, int64(block)))
	}
	return nil
}

func (c RemovePlan) apply(s *State, e Entry) error {
	if _, ok := s.Plans[c.ID]; !ok {
		return ErrNoPlan.with("%q", clip(c.ID))
	}
	s.Plans = without(s.Plans, c.ID)
	s.note(e, "plan.removed", c.ID, "")
	return nil
}

func (c FirePlan) apply(s *State, e Entry) error {
	p, ok := s.Plans[c.ID]
	last, _ := s.Operation(p.Operation)
	switch {
	case !ok:
		return ErrNoPlan.with("%q", clip(c.ID))
	case (c.Start == nil) == (c.Skip == ""):
		return ErrPlan.with("it starts something, or says why not")
	case (c.Now || c.Again) && c.Start == nil, c.Now && c.Again:
		return ErrPlan.with("now is no try again, and both start something")
	case !c.Now && p.Disabled:
		return ErrPlan.with("%q is disabled", c.ID)
	case !c.Now && (c.Due != p.Due || c.DueBlock != p.DueBlock || c.Try != p.Try):
		return ErrPlan.with("%q is due at %d, block %d, after %d tries", c.ID, p.Due, p.DueBlock, p.Try)
	case c.Again && (p.Try >= p.Tries || last.Outcome != Failed && last.Outcome != Expired):
		return ErrPlan.with("%q is not to be tried again", c.ID)
	case c.Start != nil && last.Outcome == Running:
		return last.inTheWay()
	case !c.Now && !c.Again && e.At < p.Due:
		return ErrPlan.with("%q is due in %d ms", c.ID, p.Due-e.At)
	case !c.Now && !c.Again && !p.later(c):
		return ErrPlan.with("%q is due at %d, block %d, and next at %d, block %d", c.ID, p.Due, p.DueBlock, c.Next, c.NextBlock)
	}
	if c.Start != nil {
		if err := p.start(*c.Start, s, e); err != nil {
			return err
		}
		p.Operation, p.Why = e.Index, ""
		if !c.Again {
			p.Fired, p.Count = max(e.At, 1), p.Count+1
		}
	}
	switch {
	case c.Again:
		p.Try++
	case c.Now:
		p.Try = 0
	default:
		p.FiredAt = max(p.Due, int64(p.DueBlock))
		p.Due, p.DueBlock, p.Try = c.Next, c.NextBlock, 0
	}
	if c.Skip != "" {
		p.Skipped, p.Why = p.Skipped+1, clip(c.Skip)
		s.note(e, "plan.skipped", p.ID, "%s", c.Skip)
	}
	s.Plans = withKey(s.Plans, p.ID, p)
	return nil
}

// later reports whether the next time that an entry names is one, and after this one.
func (p Plan) later(c FirePlan) bool {
	if p.Blocks != 0 {
		return c.NextBlock > p.DueBlock && c.Next == 0
	}
	return c.Next > p.Due && c.NextBlock == 0
}

// start starts what the plan is for, as an operation with this entry's index.
func (p Plan) start(c StartOperation, s *State, e Entry) error {
	if c.Name != p.Name || c.Task == nil || c.Handoff != nil || c.Roll != nil || c.Parent != 0 {
		return ErrPlan.with("%q is for a %s", p.ID, p.Name)
	}
	asked := *c.Task
	asked.Backup, asked.Avoid, asked.Plan = "", nil, ""
	if p.Task.Limit == 0 {
		asked.Limit = 0
	}
	if !sameTask(asked, p.Task) || c.Task.Plan != p.ID {
		return ErrPlan.with("%q is for something else", p.ID)
	}
	return c.start(s, e, p.ID)
}

// sameTask reports whether two tasks that avoid nobody ask for the same.
func sameTask(a, b Task) bool {
	return a.Member == b.Member && a.Repository == b.Repository && a.Copies == b.Copies && a.Backup == b.Backup && a.Trial == b.Trial &&
		a.Unknown == b.Unknown && a.Auto == b.Auto && a.Plan == b.Plan && a.Keep == b.Keep && a.Limit == b.Limit && len(a.Avoid)+len(b.Avoid) == 0
}
