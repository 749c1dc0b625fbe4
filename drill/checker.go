package drill

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// Signature is one line of a node's ledger: a block that it signed. The stand-in nodeos writes it before it sends the
// block anywhere.
type Signature struct {
	Slot     uint64 `json:"slot"`
	Num      uint32 `json:"num"`
	ID       string `json:"id"`
	Digest   string `json:"digest"`
	Node     string `json:"node"`
	SignedAt string `json:"signed_at"`
}

// ReadLedgers reads every ledger that matches the pattern. A last line cut short by a kill is ignored; any other broken
// line is an error.
func ReadLedgers(pattern string) ([]Signature, error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil, fmt.Errorf("drill: ledgers: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("drill: no ledger matches %s: %w", pattern, fs.ErrNotExist)
	}
	var all []Signature
	for _, name := range files {
		list, err := readLedger(name)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

func readLedger(name string) ([]Signature, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("drill: ledger: %w", err)
	}
	defer f.Close()
	var list []Signature
	var broken error
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		if broken != nil {
			return nil, broken // it was not the last line
		}
		var s Signature
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			broken = fmt.Errorf("drill: ledger %s, line %d: %w", name, n, err)
			continue
		}
		list = append(list, s)
	}
	return list, lines.Err()
}

// Double is a slot that was signed twice: by two nodes, or as two different blocks.
type Double struct {
	Slot       uint64      `json:"slot"`
	Signatures []Signature `json:"signatures"`
}

// Doubles finds the slots that were signed twice. Two signatures by one node over one digest are one: nodeos may ask
// again for the same block. Two nodes' are two, even over one digest: on an idle chain both build the same block, and with
// one transaction more it would have been another. Where a log gives no digest the block's id stands for it.
func Doubles(ledger []Signature) []Double {
	type what struct{ node, digest string }
	bySlot := map[uint64]map[what]Signature{}
	for _, s := range ledger {
		if bySlot[s.Slot] == nil {
			bySlot[s.Slot] = map[what]Signature{}
		}
		w := what{s.Node, cmp.Or(s.Digest, shortID(s.ID))}
		if _, again := bySlot[s.Slot][w]; !again {
			bySlot[s.Slot][w] = s // the first time it was signed
		}
	}
	var doubles []Double
	for slot, signed := range bySlot {
		if len(signed) < 2 {
			continue
		}
		d := Double{Slot: slot}
		for _, s := range signed {
			d.Signatures = append(d.Signatures, s)
		}
		slices.SortFunc(d.Signatures, func(a, b Signature) int {
			return cmp.Or(strings.Compare(a.SignedAt, b.SignedAt), strings.Compare(a.Node, b.Node), strings.Compare(a.Digest, b.Digest))
		})
		doubles = append(doubles, d)
	}
	sort.Slice(doubles, func(i, j int) bool { return doubles[i].Slot < doubles[j].Slot })
	return doubles
}

// ChainBlock is a block of the chain that a node ended with.
type ChainBlock struct {
	Num      uint32 `json:"num"`
	Slot     uint64 `json:"slot"`
	ID       string `json:"id"`
	Previous string `json:"previous"` // the id of the block before; "" where it was not asked for
	Producer string `json:"producer"`
}

// Missed lists the slots from first to last that were due to one of the producers by the schedule and have no block in
// the chain. A block that was signed and orphaned is a miss.
func Missed(chain []ChainBlock, schedule, ours []string, first, last uint64) (due int, missed []uint64) {
	have := map[uint64]bool{}
	for _, b := range chain {
		have[b.Slot] = true
	}
	for s := first; s <= last && len(schedule) > 0; s++ {
		if !slices.Contains(ours, schedule[s/12%uint64(len(schedule))]) {
			continue
		}
		due++
		if !have[s] {
			missed = append(missed, s)
		}
	}
	return due, missed
}

// Linked checks that the chain is one: numbers without a hole, slots that grow, each block on the one before.
func Linked(chain []ChainBlock) error {
	for i := 1; i < len(chain); i++ {
		torn := chain[i].Previous != "" && chain[i].Previous != chain[i-1].ID
		if torn || chain[i].Num != chain[i-1].Num+1 || chain[i].Slot <= chain[i-1].Slot {
			return fmt.Errorf("drill: block %d in slot %d does not follow block %d in slot %d", chain[i].Num, chain[i].Slot, chain[i-1].Num, chain[i-1].Slot)
		}
	}
	if len(chain) == 0 {
		return errors.New("drill: the chain is empty")
	}
	return nil
}

// Unsigned lists the blocks of ours in the chain that no ledger has: somebody else signed them.
func Unsigned(chain []ChainBlock, ours []string, ledger []Signature) []ChainBlock {
	signed := map[string]bool{}
	for _, s := range ledger {
		signed[shortID(s.ID)] = true
	}
	var list []ChainBlock
	for _, b := range chain {
		if slices.Contains(ours, b.Producer) && !signed[shortID(b.ID)] {
			list = append(list, b)
		}
	}
	return list
}

// shortID is what nodeos' log shows of a block's id: characters 8 to 23. Ids of another length stay as they are.
func shortID(id string) string {
	if len(id) == 64 {
		return id[8:24]
	}
	return id
}

// Lost lists the signatures whose blocks are not in the chain that was kept: signed and orphaned. Slots before the chain's
// first block and beyond its last are left out: nothing can be said of them. A block signed again by its node counts once.
func Lost(chain []ChainBlock, ledger []Signature) []Signature {
	if len(chain) == 0 {
		return nil
	}
	kept := map[string]bool{}
	for _, b := range chain {
		kept[shortID(b.ID)] = true
	}
	type what struct{ node, id string }
	seen := map[what]bool{}
	var lost []Signature
	for _, s := range ledger {
		w := what{s.Node, shortID(s.ID)}
		if s.Slot < chain[0].Slot || s.Slot > chain[len(chain)-1].Slot || kept[w.id] || seen[w] {
			continue
		}
		seen[w] = true
		lost = append(lost, s)
	}
	sort.SliceStable(lost, func(i, j int) bool { return lost[i].Slot < lost[j].Slot })
	return lost
}

// Fork is where two nodes' chains part for good.
type Fork struct {
	A     int    `json:"a"` // index of the one chain
	B     int    `json:"b"`
	Num   uint32 `json:"num"` // the first block that differs
	AID   string `json:"a_id"`
	BID   string `json:"b_id"`
	Depth uint32 `json:"depth"` // blocks from there to the lower of the two heads
}

// Forks compares the chains that the nodes ended with, each with each, and gives the first difference of every pair. What
// differs at the lower of two heads only is not a fork yet: the next block decides.
func Forks(chains [][]ChainBlock) []Fork {
	var forks []Fork
	for a := range chains {
		for b := a + 1; b < len(chains); b++ {
			if f, ok := fork(chains[a], chains[b]); ok {
				f.A, f.B = a, b
				forks = append(forks, f)
			}
		}
	}
	return forks
}

func fork(a, b []ChainBlock) (Fork, bool) {
	if len(a) == 0 || len(b) == 0 {
		return Fork{}, false
	}
	other := map[uint32]string{}
	for _, block := range b {
		other[block.Num] = block.ID
	}
	lower := min(a[len(a)-1].Num, b[len(b)-1].Num)
	for _, block := range a {
		if id, ok := other[block.Num]; ok && block.Num < lower && shortID(id) != shortID(block.ID) {
			return Fork{Num: block.Num, AID: block.ID, BID: id, Depth: lower - block.Num + 1}, true
		}
	}
	return Fork{}, false
}
