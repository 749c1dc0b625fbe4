package mutation_test

// vaultMutants remove what keeps a repository and a node's data from being taken for lost.
var vaultMutants = []mutant{
	{
		name: "vault: an empty place becomes a second repository", guard: keptStays, file: "manager/vaultbackup.go",
		edits: []string{
			"job.Create, job.Source = !t.Known, &backup.Source{Dir: dir, Files: files,", "job.Create, job.Source = true, &backup.Source{Dir: dir, Files: files,",
			"job.Create, job.Source = !t.Known, &backup.Source{Dir: dir, Files: j.Files,", "job.Create, job.Source = true, &backup.Source{Dir: dir, Files: j.Files,",
		},
		pkg: "manager", by: []string{"TestALostRepository"},
		world: "a disk that is not mounted takes in the next backup on the disk below it, and no former one is found any more",
	},
	{
		name: "vault: nothing is there where nothing is mounted", guard: keptStays, file: "manager/vaultwork.go",
		edits: []string{"case errors.Is(err, backup.ErrNoRepository) && !known:", "case errors.Is(err, backup.ErrNoRepository):"},
		pkg:   "manager", by: []string{"TestALostRepository"},
		world: "a scan and a bootstrap find nothing where all is only not mounted: the node begins anew",
	},
	{
		name: "vault: half of a node's data is kept", guard: wayBack, file: "manager/swap.go",
		edits: []string{"if err := v.mended(); err != nil {\n\t\treturn err\n\t}\n\ts := v.swap\n", "s := v.swap\n"},
		pkg:   "manager", by: []string{"TestHalfIsNotSettled"},
		world: "a node runs with blocks of one time and a state of another",
	},
	{
		name: "vault: a restore is done with the former data", guard: wayBack, file: "manager/vaultrestore.go",
		edits: []string{"if err := v.mend(); err != nil { // with what is half moved no node is started\n\t\treturn err\n\t}\n", ""},
		pkg:   "manager", by: []string{"TestARenameThatFails"},
		world: "an operator who restored a member is told that it runs with the backup, and it runs with what was to be replaced",
	},
	{
		name: "vault: a node that came back is restored", guard: wayBack, file: "manager/vaultrestore.go",
		edits: []string{"if t.Auto {", "if false {"},
		pkg:   "manager", by: []string{"TestANodeThatCameBack"},
		world: "a node that has replayed its blocks while a backup was fetched is stopped, and loses the blocks since that",
	},
	{
		name: "vault: the housekeeping stops a node", guard: neverHolder, file: "manager/vaultcheck.go",
		edits: []string{"case st.State == node.StateFailed, st.State == node.StateStopped:", "case true:"},
		pkg:   "manager", by: []string{"TestForgetNeverStopsTheNode"},
		world: "a node is stopped behind the back of whoever decides that, the holder's as well",
	},
}
