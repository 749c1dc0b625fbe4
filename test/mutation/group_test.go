package mutation_test

// groupMutants remove what keeps the group one, and its log whole: below the state machine, which believes both.
var groupMutants = []mutant{
	{
		name: "an empty raft folder is a permission", guard: oneGroup, file: "cluster/found.go",
		edits: []string{`if h.existing || h.group != "" || found || len(join) > 0 {`, `if true || found || len(join) > 0 {`},
		pkg:   "cluster", by: []string{"TestFoundingOnce"},
		world: "a founder that lost its disk waits for somebody for ever and says nothing (nothing doubles: it has no permission)",
	},
	{
		name: "the permission stays", guard: oneGroup, file: "cluster/cluster.go",
		edits: []string{"if err := c.founded(); err != nil {", "if err := error(nil); err != nil {"},
		pkg:   "cluster", by: []string{"TestFoundingOnce"},
		world: "a founder that loses its disk founds a second cluster beside the first, which grants a second lease",
	},
	{
		name: "founds while somebody is silent", guard: oneGroup, file: "cluster/found.go",
		edits: []string{"if len(unheard) > 0 {", "if false {"},
		pkg:   "cluster", by: []string{"TestVirtualFounding", "TestPlanFound"},
		world: "a founder that was laid out anew, and is cut off from the others as it starts, founds a second cluster",
	},
	{
		name: "founds beside a group that is heard", guard: oneGroup, file: "cluster/found.go",
		edits: []string{`if n := nodes[id]; n.Group != "" {`, `if n := nodes[id]; false && n.Group != "" {`},
		pkg:   "cluster", by: []string{"TestPlanFound"},
		world: "as above, without being cut off",
	},
	{
		name: "two with a permission found two groups", guard: oneGroup, file: "cluster/found.go",
		edits: []string{"case n.Founds && id < self:", "case false:"},
		pkg:   "cluster", by: []string{"TestVirtualFoundingTwice", "TestPlanFound"},
		world: "a seed that was copied for two members makes two clusters of one",
	},
	{
		name: "takes entries from a leader that leads nobody", guard: lostLog, file: "cluster/filling.go",
		edits: []string{"if !c.filling.Load() || c.raft.CurrentTerm() > 0 {", "if true {"},
		pkg:   "cluster", by: []string{"TestVirtualFrozenLeader"},
		world: "a leader that was frozen while it was replaced finds a majority in the member that forgot it: two leaders commit",
	},
	{
		name: "votes without its log", guard: lostLog, file: "cluster/filling.go",
		edits: []string{"\tif !t.filling() {\n\t\treturn false\n", "\tif true {\n\t\treturn false\n"},
		pkg:   "cluster", by: []string{"TestDeny", "TestVirtualFillingDoesNotVote"},
		world: "a member that forgot whom it voted for votes again: two leaders in one term",
	},
	{
		name: "leads with the beginning of its log", guard: lostLog, file: "cluster/cluster.go",
		edits: []string{"if c.filling.Load() {\n\t\tconf.HeartbeatTimeout", "if false {\n\t\tconf.HeartbeatTimeout"},
		pkg:   "cluster", by: []string{"TestVirtualHalfFilled"},
		world: "a founder that is stopped while it regains its log elects itself by its first entry, and grants itself the lease",
	},
	{
		name: "forgets over a restart that it lost its log", guard: lostLog, file: "cluster/found.go",
		edits: []string{"case h.filling:", "case false:"},
		pkg:   "cluster", by: []string{"TestVirtualHalfFilled"},
		world: "as above",
	},
	{
		name: "takes its former record for its new one", guard: lostLog, file: "cluster/filling.go",
		edits: []string{"ok && m.Incarnation == c.cfg.Incarnation", `ok && m.ID != ""`},
		pkg:   "cluster", by: []string{"TestVirtualFillingDoesNotVote"},
		world: "it votes again with half of its log",
	},
}
