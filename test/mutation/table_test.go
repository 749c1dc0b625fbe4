package mutation_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The guards, as issue 3 and design/lease.md name them, what the group rests on (docs/decisions/0011), and what rolling operations do
// (docs/decisions/0012), and operations on backups (docs/decisions/0014).
const (
	rangeCheck   = "range check"
	epochCheck   = "epoch check"
	highestSlot  = "highest-slot record"
	recordFirst  = "record before sign [S4]"
	drainInside  = "drain inside the handler [S8]"
	finality     = "finality of a proposed release [S1]"
	incarnation  = "incarnation check [S2, S3]"
	packetTrust  = "packet trust of the slot line [S5]"
	lastBlock    = "wait for the source's last block [L2]"
	pausedAlways = "pause without a lease [L1]"
	leaderGrace  = "the leader's grace [L5]"
	reachBound   = "the bound on extensions [L6]"
	oneGroup     = "one group"
	lostLog      = "no vote without the log"
	neverHolder  = "no node of a holder is stopped"
	neverBehind  = "a node that is behind never wins"
	oneAtATime   = "one that disturbs at a time"
	wayBack      = "the way back of what fails"
	wholeOnly    = "done is only what was stored"
	keptStays    = "what is kept is not removed"
	firesOnce    = "a plan fires once"
)

var guards = []string{rangeCheck, epochCheck, highestSlot, recordFirst, drainInside, finality, incarnation, packetTrust, lastBlock, pausedAlways, leaderGrace, reachBound, oneGroup, lostLog, neverHolder, oneAtATime, wayBack, wholeOnly, keptStays, firesOnce}

// mutant is one guard taken away in one layer.
type mutant struct {
	name  string // says what was changed, for people
	guard string
	file  string   // relative to the module
	edits []string // old text, new text, old text, new text...: each old one must stand in the file exactly once
	pkg   string   // of the catchers, relative to the module
	by    []string // tests there; each of them must fail
	world string   // what would happen to a cluster without the guard
}

// mutants are all of them, by guard.
func mutants() []mutant {
	all := slices.Concat(leaseMutants, gateMutants, controlMutants, groupMutants, rollingMutants, backupMutants, taskMutants, vaultMutants)
	slices.SortStableFunc(all, func(a, b mutant) int { return slices.Index(guards, a.guard) - slices.Index(guards, b.guard) })
	return all
}

// text is the file with the edits done.
func (m mutant) text() (string, error) {
	b, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return "", err
	}
	text := string(b)
	for i := 0; i+1 < len(m.edits); i += 2 {
		if n := strings.Count(text, m.edits[i]); n != 1 {
			return "", fmt.Errorf("%s: %s holds %d times %q, must be once: did the guard move? mend the table", m.name, m.file, n, m.edits[i])
		}
		text = strings.Replace(text, m.edits[i], m.edits[i+1], 1)
	}
	if len(m.edits) == 0 || len(m.edits)%2 != 0 {
		return "", fmt.Errorf("%s: %d texts are no edits", m.name, len(m.edits))
	}
	return text, nil
}
