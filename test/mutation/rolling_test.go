package mutation_test

// rollingMutants remove what keeps a restart, an upgrade or a rollout from stopping production, and from leaving anything half done.
var rollingMutants = []mutant{
	{
		name: "turn: the holder's node may be stopped", guard: neverHolder, file: "fsm/rolling_turn.go",
		edits: []string{"case (working(c.Step) && c.Step != StepFork || c.Step == StepSnapshot) && s.Lease.Open()", "case false && s.Lease.Open()"},
		pkg:   "fsm", by: []string{"TestRules", "TestGolden", "TestWalks"},
		world: "a failover moves production while the next step is on its way: the new holder is told to stop its node (it looks again before it does)",
	},
	{
		name: "turn: a node may be stopped while production moves", guard: neverHolder, file: "fsm/rolling_turn.go",
		edits: []string{"if other.Handoff != nil && working(c.Step) {", "if false {"},
		pkg:   "fsm", by: []string{"TestRules", "TestWalks"},
		world: "a leader that is replaced in the middle of a handoff has its target's node stopped: nobody produces",
	},
	{
		name: "handoff: to a member whose node is stopped", guard: neverHolder, file: "fsm/operation.go",
		edits: []string{"if _, stopped := s.Working(h.To); stopped {", "if _, stopped := s.Working(h.To); stopped && false {"},
		pkg:   "fsm", by: []string{"TestRules", "TestWalks"},
		world: "an operator's handoff goes to a node that an operation is about to stop: the same",
	},
	{
		name: "start: beside another one that disturbs", guard: oneAtATime, file: "fsm/operation.go",
		edits: []string{"if r.Disruptive() && o.Disruptive() && (r.ID != o.Parent || !r.Rolling()) {", "if false {"},
		pkg:   "fsm", by: []string{"TestRules", "TestMachine"},
		world: "a handoff beside a restart, or two at once: the one stops the node that the other relies on",
	},
	{
		name: "start: a handoff within what does not disturb", guard: oneAtATime, file: "fsm/operation.go",
		edits: []string{"c.Parent != 0 && (!p.Rolling() || !p.Disruptive())", "false && (!p.Rolling() || !p.Disruptive())"},
		pkg:   "fsm", by: []string{"TestRules"},
		world: "a leader that was replaced hands production over for an operation that has ended meanwhile",
	},
	{
		name: "turn: an upgrade begins beside another one that disturbs", guard: oneAtATime, file: "fsm/rolling_turn.go",
		edits: []string{"if disruptive(o.Kind, c.Step) && !disruptive(o.Kind, now.Name) {", "if false {"},
		pkg:   "fsm", by: []string{"TestRules", "TestGolden", "TestWalks"},
		world: "an upgrade whose block has come stops a node while a restart has stopped another one: of three, one is left",
	},
	{
		name: "turn: before the step is over", guard: oneAtATime, file: "fsm/rolling_turn.go",
		edits: []string{"case !now.Over() && e.At <= o.Deadline:", "case false:"},
		pkg:   "fsm", by: []string{"TestRules"},
		world: "production goes on behind a hard fork while some nodes are being switched; a member that takes its time is rolled back at once",
	},
	{
		name: "the queue: the newest may go first", guard: oneAtATime, file: "fsm/rolling_start.go",
		edits: []string{"case queued && other.ID < o.ID && (upgrades || disturbs),", "case false && (upgrades || disturbs),"},
		pkg:   "fsm", by: []string{"TestRules", "TestWaits", "TestGolden"},
		world: "what waits longest is overtaken until its time is over",
	},
	{
		name: "turn: on, after a fault", guard: wayBack, file: "fsm/rolling_turn.go",
		edits: []string{`case fault == "" && now.fails() && c.Step != StepResume:`, "case false:"},
		pkg:   "fsm", by: []string{"TestRules"},
		world: "a version that exits at once reaches the second member, and the third",
	},
	{
		name: "turn: a version that is not there everywhere", guard: wayBack, file: "fsm/rolling_turn.go",
		edits: []string{"case c.Step == StepStage && len(c.Members) != len(s.Left(o)):", "case false:"},
		pkg:   "fsm", by: []string{"TestRules"},
		world: "a missing asset is found out when two of three run the new version already",
	},
	{
		name: "turn: what an upgrade waits for is left out", guard: wayBack, file: "fsm/rolling_turn.go",
		edits: []string{"case now == StepStage && step != StepTrigger && u.triggers() > 0 && !u.HardFork:", "case false:"},
		pkg:   "fsm", by: []string{"TestRules", "TestGolden"},
		world: "a version for after a block runs before it",
	},
	{
		name: "turn: back behind a hard fork", guard: wayBack, file: "fsm/rolling_turn.go",
		edits: []string{"case o.Roll.Upgrade != nil && o.Roll.Upgrade.HardFork && len(o.Roll.Done) > 0:", "case false:"},
		pkg:   "fsm", by: []string{"TestRules", "TestGolden"},
		world: "a member is brought back to a version that cannot follow the chain which the others are on",
	},
	{
		name: "end: who did not come through is to run the new version still", guard: wayBack, file: "fsm/home.go",
		edits: []string{"if r.Upgrade == nil || !r.Upgrade.HardFork || len(r.Done) == 0 {", "if false {"},
		pkg:   "fsm", by: []string{"TestNoRollingOperationBlocksTheNext", "TestWalks", "TestGolden"},
		world: "an operation expires with its leader and the member at work dead: the member comes back with a version that was proved nowhere",
	},
	{
		name: "end: a hard fork that nobody came through", guard: wayBack, file: "fsm/home.go",
		edits: []string{"if r.Upgrade == nil || !r.Upgrade.HardFork || len(r.Done) == 0 {", "if r.Upgrade == nil || !r.Upgrade.HardFork {"},
		pkg:   "fsm", by: []string{"TestNoRollingOperationBlocksTheNext", "TestWalks", "TestGolden"},
		world: "no node starts with the version of the fork, and none goes back to the one that ran",
	},
	{
		name: "end: an overlay that failed stays", guard: wayBack, file: "fsm/home.go",
		edits: []string{"c.Overlay, c.Proven, c.Overlaid = *c.Proven, nil, e.Index", "c.Overlaid = e.Index"},
		pkg:   "fsm", by: []string{"TestRules", "TestGolden"},
		world: "a bad line of config.ini is offered again by every member, and by every new one",
	},
	{
		name: "end: an overlay is proved that nobody ran", guard: wayBack, file: "fsm/home.go",
		edits: []string{"c.Proven == nil || c.Overlaid != r.Overlaid:", "c.Proven == nil:"},
		pkg:   "fsm", by: []string{"TestRules", "TestGolden"},
		world: "an overlay that is written while another one is rolled out counts as proved: when it fails there is nothing to go back to",
	},
	{
		name: "the whole configuration takes the overlay with it", guard: wayBack, file: "fsm/cluster.go",
		edits: []string{"n.Overlay, n.Overlaid, n.Proven, n.TakeOver = old.Overlay, old.Overlaid, old.Proven, old.TakeOver", "_ = old"},
		pkg:   "fsm", by: []string{"TestRules"},
		world: "a manager that learns the chain's id from an older state empties the overlay",
	},
	{
		name: "finish: done, and somebody is left", guard: wayBack, file: "fsm/rolling_end.go",
		edits: []string{`case o.Roll.Fault != "" || len(s.Left(o)) > 0:`, `case o.Roll.Fault != "":`},
		pkg:   "fsm", by: []string{"TestRules", "TestGolden", "TestWalks"},
		world: "an upgrade is said to be done whose last member runs the old version",
	},
	{
		name: "cancel: with a node stopped", guard: wayBack, file: "fsm/rolling_end.go",
		edits: []string{"case !working(step.Name) || step.Over():", "case true:"},
		pkg:   "fsm", by: []string{"TestRules", "TestGolden"},
		world: "the next operation begins while a node is down",
	},
	{
		name: "report: by a process that is gone", guard: wayBack, file: "fsm/rolling_end.go",
		edits: []string{`case c.Incarnation == "" || s.Members[c.Member].Incarnation != c.Incarnation:`, "case false:"},
		pkg:   "fsm", by: []string{"TestRules"},
		world: "what a manager said before it was killed counts for the node that its successor has just started",
	},
	{
		name: "report: the deadline goes by the reporter's clock", guard: wayBack, file: "fsm/rolling_end.go",
		edits: []string{"o.Deadline = min(max(o.Deadline, at+more), o.Deadline+more)", "o.Deadline = at + more"},
		pkg:   "fsm", by: []string{"TestRules"},
		world: "a member whose clock is a year ahead keeps every other operation waiting for a year; one whose clock is behind ends the operation",
	},
	{
		name: "a member goes whose node is stopped", guard: wayBack, file: "fsm/member.go",
		edits: []string{"if o, ok := s.Working(c.ID); ok {", "if o, ok := s.Working(c.ID); ok && false {"},
		pkg:   "fsm", by: []string{"TestRules"},
		world: "an operator removes a member in the middle of its switch: nothing says any more what its node is to run",
	},
}
