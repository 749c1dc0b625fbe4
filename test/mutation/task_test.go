package mutation_test

// taskMutants remove what the leader and the members look at, before the state does, in operations on backups.
var taskMutants = []mutant{
	{
		name: "leader: the last standby's node is stopped for a backup", guard: neverHolder, file: "cluster/control/plan_task.go",
		edits: []string{"if nodes < 3 {", "if true {"},
		pkg:   "cluster/control", by: []string{"TestPlanTask", "TestBackupsThatAreRefused"},
		world: "of three one is sick, the other one's node is stopped for minutes: when the holder dies nobody produces",
	},
	{
		name: "leader: a node is copied while nobody can produce", guard: neverHolder, file: "cluster/control/plan_task.go",
		edits: []string{"if p.step.Name == fsm.StepCopy && !p.task.Cancel && p.outage() {", "if false {"},
		pkg:   "cluster/control", by: []string{"TestPlanTask"},
		world: "of two nodes one is stopped for a backup and the other one dies: nobody produces until all is copied",
	},
	{
		name: "leader: old data is produced on", guard: neverBehind, file: "cluster/control/fitness.go",
		edits: []string{"case !planned && r.Head.Slot+maxLost < signed(s) && !wanted(s, id):", "case false:"},
		pkg:   "cluster/control", by: []string{"TestPlanLease"},
		world: "all nodes are down, one was restored by itself from yesterday's backup: a day of the chain is given up, and nobody asked for it",
	},
	{
		name: "leader: old data is produced on since it was restored", guard: neverBehind, file: "cluster/control/fitness.go",
		edits: []string{"&& !o.Task.Auto && chain.SlotAt(o.Started)", "&& chain.SlotAt(o.Started)"},
		pkg:   "cluster/control", by: []string{"TestPlanLease"},
		world: "the same",
	},
	{
		name: "member: refers to what may be damaged", guard: wholeOnly, file: "cluster/control/task_member.go",
		edits: []string{"if !b.Suspect || j.kind == fsm.KindSweep {", "if true {"},
		pkg:   "cluster/control", by: []string{"TestWhatABackupMayReferTo"},
		world: "one rotten object is in every backup from then on, and each is called done",
	},
	{
		name: "leader: a standby's node is stopped in the middle of our window", guard: neverHolder, file: "cluster/control/plan_task.go",
		edits: []string{"if !calm(p.state, p.slot(), calmSlots, true) {", "if false {"},
		pkg:   "cluster/control", by: []string{"TestPlanTask"},
		world: "a failover in our window finds one standby fewer than it could",
	},
	{
		name: "member: writes on while it holds the lease", guard: neverHolder, file: "cluster/control/task_member.go",
		edits: []string{"waits := ok && yields(o.Current().Name) && c.holds(s.Lease)", "waits := ok && false"},
		pkg:   "cluster/control", by: []string{"TestAHolderDoesNothingElse"},
		world: "a failover comes to a member that reads and packs a terabyte: its node is late with blocks",
	},
	{
		name: "member: leaves a node that did not come back as it is", guard: wayBack, file: "cluster/control/task_member.go",
		edits: []string{"if back := c.putBack(keep, t); back != nil {", "if back := error(nil); back != nil {"},
		pkg:   "cluster/control", by: []string{"TestWhatAMemberDoesWithBackups", "TestAManagerThatEndsLeavesAReplacementToTheNext"},
		world: "a backup with which the node does not start costs that node",
	},
	{
		name: "member: sweeps what the catalogue did not take", guard: keptStays, file: "cluster/control/task_member.go",
		edits: []string{"kept[id] = true\n\t\treturn FateKeep", "kept[id] = true\n\t\treturn FateDrop"},
		pkg:   "cluster/control", by: []string{"TestASweepAsksTheState"},
		world: "a sweep whose operation has ended removes what another one was told to keep since",
	},
	{
		name: "leader: fires what it started before that still runs", guard: firesOnce, file: "cluster/control/plan_fire.go",
		edits: []string{"running := last.Outcome == fsm.Running", "running := false"},
		pkg:   "cluster/control", by: []string{"TestPlanFire"},
		world: "every look at the plan is an entry that the state refuses, and no skip says why (nothing fires twice)",
	},
}
