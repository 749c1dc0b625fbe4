package mutation_test

// leaseMutants remove what the state machine refuses: the layer that everything rests on.
var leaseMutants = []mutant{
	{
		name: "grant: the range may begin anywhere", guard: rangeCheck, file: "fsm/lease.go",
		edits: []string{"if c.First <= s.Lease.Last {", "if false {"},
		pkg:   "fsm/model", by: []string{"TestNoSlotIsSignedTwice", "TestRandomWalks"},
		world: "a leader that takes a cut-off holder for dead grants slots which that one goes on signing: two blocks for one slot",
	},
	{
		name: "release: may give back slots below the range", guard: rangeCheck, file: "fsm/lease.go",
		edits: []string{"if signed+1 < s.Lease.First || signed > s.Lease.Last {", "if signed > s.Lease.Last {"},
		pkg:   "fsm", by: []string{"TestMachine", "TestRules"},
		world: "a wrong release hands out slots that an earlier epoch has signed",
	},
	{
		name: "release: may claim slots beyond the range", guard: rangeCheck, file: "fsm/lease.go",
		edits: []string{"if signed+1 < s.Lease.First || signed > s.Lease.Last {", "if signed+1 < s.Lease.First {"},
		pkg:   "fsm", by: []string{"TestRules"},
		world: "a release moves Last years ahead: nobody can be granted a slot before then, production stops for good",
	},
	{
		name: "grant: any epoch is taken", guard: epochCheck, file: "fsm/lease.go",
		edits: []string{"if c.Epoch != s.Lease.Epoch+1 {", "if false {"},
		pkg:   "fsm", by: []string{"TestMachine", "TestRules"},
		world: "a grant that was delayed on its way is taken beside a newer one: the fencing token goes back",
	},
	{
		name: "extend, release, transfer: any epoch is taken", guard: epochCheck, file: "fsm/lease.go",
		edits: []string{"case epoch == 0 || epoch != s.Lease.Epoch:", "case false:"},
		pkg:   "fsm", by: []string{"TestRules", "TestMachine"},
		world: "a release that was sent in an old epoch ends the member's present one, whose gate is open: what it signs beyond is granted to another",
	},
	{
		name: "transfer: the handoff may be of another epoch", guard: epochCheck, file: "fsm/lease.go",
		edits: []string{"(o.Handoff.To != c.To || o.Handoff.Epoch != c.Epoch)", "(o.Handoff.To != c.To)"},
		pkg:   "fsm", by: []string{"TestRules"},
		world: "a handoff that a failover has overtaken moves production once more, away from where it has just settled",
	},
	{
		name: "a released epoch goes on", guard: finality, file: "fsm/lease.go",
		edits: []string{"case s.Lease.Released:", "case false:"},
		pkg:   "fsm", by: []string{"TestMachine", "TestRules"},
		world: "an extension that arrives after the release opens the epoch again, while the slots behind it are being granted",
	},
	{
		name: "a grant to an incarnation that is gone", guard: incarnation, file: "fsm/lease.go",
		edits: []string{`case incarnation == "" || m.Incarnation != incarnation:`, `case incarnation == "":`},
		pkg:   "fsm", by: []string{"TestMachine", "TestRules"},
		world: "a lease for a process that has ended: nobody can sign or release it, a whole range of slots is missed",
	},
	{
		name: "anybody may extend, release and transfer", guard: incarnation, file: "fsm/lease.go",
		edits: []string{"case incarnation != s.Lease.Incarnation:", "case false:"},
		pkg:   "fsm/model", by: []string{"TestNoSlotIsSignedTwice"},
		world: "a restarted manager, or one that believes the holder dead, shrinks a range whose gate is open: its slots are signed twice",
	},
	{
		name: "transfer: the target is not told the last block", guard: lastBlock, file: "fsm/lease.go",
		edits: []string{"First: first, Last: c.Last}, c.Block)", "First: first, Last: c.Last}, chain.Block{})"},
		pkg:   "fsm", by: []string{"TestRules"},
		world: "the target builds on its own head, a block short on a slow link: the source's last block or its own first is orphaned in each handoff",
	},
	{
		name: "grant after a release: the next holder is not told the last block", guard: lastBlock, file: "fsm/lease.go",
		edits: []string{"after = s.LastBlock", "after = chain.Block{}"},
		pkg:   "fsm", by: []string{"TestRules"},
		world: "after each release that is no handoff (a dead node, a clean stop without a fit standby) a block is orphaned on a slow link",
	},
	{
		name: "extend: by any number of slots", guard: reachBound, file: "fsm/lease.go",
		edits: []string{"c.Last <= s.Lease.Last || c.Last-s.Lease.Last > MaxLease ||", "c.Last <= s.Lease.Last ||"},
		pkg:   "fsm", by: []string{"TestMachine", "TestRules"},
		world: "one extension by a holder with a wrong clock reaches years ahead; when it dies nobody can ever be granted a slot",
	},
	{
		name: "grant: of any length", guard: reachBound, file: "fsm/lease.go",
		edits: []string{"last < first || last-first >= MaxLease ||", "last < first ||"},
		pkg:   "fsm", by: []string{"TestMachine", "TestRules"},
		world: "one grant by a leader with a wrong clock lasts for years; when its holder dies production stops for good",
	},
}
