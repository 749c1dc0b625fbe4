package mutation_test

// gateMutants remove what the signing gate checks for itself, and what makes its node's log trustworthy.
var gateMutants = []mutant{
	{
		name: "gate: slots below First are signed", guard: rangeCheck, file: "node/gate/decide.go",
		edits: []string{"case (b.slot < p.First || b.slot > p.Last) && !g.off.noRange:", "case b.slot > p.Last && !g.off.noRange:"},
		pkg:   "node/gate", by: []string{"TestGateAgainstModel", "TestLineSequences"},
		world: "a new holder whose node was thawed in the middle of a block signs that block's slot, which was the old holder's",
	},
	{
		name: "gate: slots beyond Last are signed", guard: rangeCheck, file: "node/gate/decide.go",
		edits: []string{"case (b.slot < p.First || b.slot > p.Last) && !g.off.noRange:", "case b.slot < p.First && !g.off.noRange:"},
		pkg:   "node/gate", by: []string{"TestGateAgainstModel", "TestLineSequences", "TestPermitAndClose"},
		world: "a holder that is cut off goes on signing when its range has run out, beside the next one: the plain double signature",
	},
	{
		name: "gate: follows a late call with an older lease", guard: epochCheck, file: "node/gate/gate.go",
		edits: []string{"if p.Epoch != 0 && p.Epoch < g.newest && !g.off.noEpoch || p == g.permit {", "if p == g.permit {"},
		pkg:   "node/gate", by: []string{"TestGateAgainstModel", "TestPermitAndClose"},
		world: "a goroutine that was held up hands the gate the lease of an earlier epoch, and it signs slots that went to another since",
	},
	{
		name: "gate: a slot below the highest is signed again", guard: highestSlot, file: "node/gate/decide.go",
		edits: []string{"case !b.recorded && b.slot <= g.highest && !g.off.noHighest:", "case false:"},
		pkg:   "node/gate", by: []string{"TestGateAgainstModel", "TestPermitAndClose"},
		world: "nodeos aborts a block and builds its slot once more (a pause, a fork switch, a thaw): two blocks for one slot within one lease",
	},
	{
		name: "gate: the highest slot is not kept", guard: highestSlot, file: "node/gate/decide.go",
		edits: []string{"g.highest = max(g.highest, s.Slot)\n", "\n"},
		pkg:   "node/gate", by: []string{"TestGateAgainstModel", "TestPermitAndClose"},
		world: "as above",
	},
	{
		name: "gate: the highest slot is forgotten when nodeos restarts", guard: highestSlot, file: "node/gate/pipe.go",
		edits: []string{"g.run, g.lastStarted = r, 0", "g.run, g.lastStarted, g.highest = r, 0, 0"},
		pkg:   "node/gate", by: []string{"TestGateAgainstModel"},
		world: "a node that was killed and comes back within its lease on a state without its last blocks signs their slots again",
	},
	{
		name: "gate: the slot is recorded after the key has answered", guard: recordFirst, file: "node/gate/decide.go",
		edits: []string{"if g.off.lateRecord && failure == nil {", "if failure == nil {", "if !g.off.lateRecord {\n\t\tg.record(record, q)", "if g.off.lateRecord {\n\t\tg.record(record, q)"},
		pkg:   "node/gate", by: []string{"TestCloseDoesNotWaitForTheKeyButCountsIt", "TestSignerFailureCountsAsSigned"},
		world: "a release while the key is being asked gives back the slot whose signature arrives a moment later: the next holder signs it, too",
	},
	{
		name: "gate: a slot whose key did not answer in time counts as unsigned", guard: recordFirst, file: "node/gate/decide.go",
		edits: []string{"if failure != nil {\n\t\tg.notify()", "if failure != nil {\n\t\tg.highest, g.records = record.Slot-1, g.records[:len(g.records)-1]\n\t\tg.notify()"},
		pkg:   "node/gate", by: []string{"TestSignerFailureCountsAsSigned"},
		world: "a keosd that is slow signs after all; the slot was released meanwhile and signed by another",
	},
	{
		name: "gate: Close reports only what was given", guard: recordFirst, file: "node/gate/gate.go",
		edits: []string{"if g.records[i].Epoch == epoch {", "if g.records[i].Epoch == epoch && g.records[i].Given {"},
		pkg:   "node/gate", by: []string{"TestCloseDoesNotWaitForTheKeyButCountsIt", "TestSignerFailureCountsAsSigned"},
		world: "as above",
	},
	{
		name: "gate: the request handler does not read the pipe", guard: drainInside, file: "node/gate/decide.go",
		edits: []string{"if !g.off.noDrain {", "if false {"},
		pkg:   "node/gate", by: []string{"TestGateAgainstModel", "TestLineSequences"},
		world: "the gate decides by the line of the block before: a refused slot, or a digest of this block signed for the slot of the last",
	},
	{
		name: "gate: a closed epoch signs", guard: finality, file: "node/gate/decide.go",
		edits: []string{"case p.Epoch <= g.closed && !g.off.noFinality:", "case false:"},
		pkg:   "node/gate", by: []string{"TestNothingIsSignedAfterClose", "TestGateAgainstModel", "TestPermitAndClose"},
		world: "a handoff: the source signs one more block after it told its last one, in a slot that is the target's already",
	},
	{
		name: "gate: Close closes nothing", guard: finality, file: "node/gate/gate.go",
		edits: []string{"if epoch > g.closed {\n\t\tg.closed = epoch\n", "if epoch > g.closed {\n"},
		pkg:   "node/gate", by: []string{"TestNothingIsSignedAfterClose", "TestGateAgainstModel", "TestPermitAndClose"},
		world: "as above",
	},
	{
		name: "manager: the incarnation is the member's, not the process's", guard: incarnation, file: "manager/manager.go",
		edits: []string{"incarnation: drawIncarnation()}", `incarnation: hex.EncodeToString([]byte((c.Manager.ID + "0123456789abcdef")[:16]))}`},
		pkg:   "test/wiring", by: []string{"TestEveryStartIsAnIncarnation"},
		world: "a manager that was killed comes back within its range with an empty gate and signs what its predecessor signed",
	},
	{
		name: "gate: any line within a text counts", guard: packetTrust, file: "node/gate/pipe.go",
		edits: []string{"if g.off.noTrust {", "if true {"},
		pkg:   "node/gate", by: []string{"TestForgedLine", "TestRandomPackets"},
		world: "a stranger's handshake with newlines in it announces a block for a slot of his choice: the gate signs the next digest for it",
	},
	{
		name: "gate: a text in more than one packet counts", guard: packetTrust, file: "node/gate/pipe.go",
		edits: []string{"} else if trusted {", "} else if trusted || true {"},
		pkg:   "node/gate", by: []string{"TestLineSequences"},
		world: "lines that two threads wrote into each other, or a text cut where an attacker wants, pass as a slot line",
	},
	{
		name: "gate: a newline within a packet is no trouble", guard: packetTrust, file: "node/gate/frame.go",
		edits: []string{"if p[len(p)-1] == '\\n' && !full {", "if false {"},
		pkg:   "node/gate", by: []string{"TestLineSequences"},
		world: "a nodeos whose stdout is buffered, or wrapped by a script, is not noticed: its packets are no lines any more",
	},
	{
		name: "gate: any thread, file and level may announce a block", guard: packetTrust, file: "node/gate/line.go",
		edits: []string{"ok && trustedHead(s) && strings.TrimRight", "ok && strings.TrimRight"},
		pkg:   "node/gate", by: []string{"TestLineSequences"},
		world: "a message of the p2p thread whose text begins like a slot line moves the gate",
	},
	{
		name: "gate: the pipe does not keep writes apart", guard: packetTrust, file: "node/gate/pipe.go",
		edits: []string{"unix.O_DIRECT|unix.O_CLOEXEC", "unix.O_CLOEXEC"},
		pkg:   "node/gate", by: []string{"TestOpenGivesAPacketPipe", "TestLineSequences"},
		world: "texts and newlines run together: no line can be trusted, nothing is signed",
	},
	{
		name: "node: other loggers share stdout", guard: packetTrust, file: "node/logging.go",
		edits: []string{`Level: "info", Enabled: true, Appenders: []string{"stderr"}})`, `Level: "info", Enabled: true, Appenders: []string{"stdout"}})`},
		pkg:   "node", by: []string{"TestBuildLogging"},
		world: "p2p text comes into the pipe that the gate trusts; only the packet rule is left between a stranger and a forged slot",
	},
	{
		name: "node: nodeos starts producing", guard: pausedAlways, file: "node/build.go",
		edits: []string{`{"pause-on-startup", "true"}`, `{"pause-on-startup", "false"}`},
		pkg:   "node", by: []string{"TestBuild"},
		world: "every node that starts asks its gate at once, is refused, postpones incoming blocks and orphans two or three of its own",
	},
}
