package sim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// node is a block in the fork database with what its branch implies about irreversibility.
type node struct {
	block  *Block
	id     Hash
	num    uint32
	parent *node  // nil for the root
	lib    uint32 // irreversible block number that this branch's head would give
	own    bool   // produced by this process

	lastProduced map[string]uint32 // producer -> its last block of this branch
	lastImplied  map[string]uint32 // producer -> what its last block proposed as irreversible
}

// finality is how irreversibility is told from a branch.
type finality struct {
	names   []string
	savanna bool
	lag     uint32 // one producer alone: irreversible blocks are at least so far behind, as if others' votes were awaited
}

// extend fills in what block b implies when it stands on parent. Legacy: a block is proposed irreversible once
// 2/3+1 producers have built on it, and irreversible once 2/3+1 producers' last blocks propose that much; one producer
// alone makes its previous block irreversible. Savanna: head - 2, as if all finalizers voted.
func (f finality) extend(parent *node, b *Block) *node {
	n := &node{block: b, id: b.ID(), num: b.Num(), parent: parent, lib: parent.lib}
	if f.savanna {
		n.lib = max(parent.lib, max(n.num, 3)-2)
		return n
	}
	if len(f.names) == 1 {
		n.lib = max(parent.lib, n.num-min(n.num-1, max(f.lag, 1)))
		return n
	}
	n.lastProduced, n.lastImplied = maps.Clone(parent.lastProduced), maps.Clone(parent.lastImplied)
	if n.lastProduced == nil {
		n.lastProduced, n.lastImplied = map[string]uint32{}, map[string]uint32{}
	}
	n.lastProduced[b.Producer] = n.num
	quorum := len(f.names)*2/3 + 1
	n.lastImplied[b.Producer] = max(n.lastImplied[b.Producer], f.reached(n.lastProduced, quorum))
	n.lib = max(parent.lib, f.reached(n.lastImplied, quorum))
	return n
}

// reached is the highest number that at least quorum producers have reached.
func (f finality) reached(of map[string]uint32, quorum int) uint32 {
	var all []uint32
	for _, name := range f.names {
		all = append(all, of[name])
	}
	slices.Sort(all)
	return all[len(all)-quorum]
}

// errDuplicate and errUnlinkable are refusals of add.
var (
	errDuplicate  = errors.New("duplicate block")
	errUnlinkable = errors.New("unlinkable block")
)

// forkDB holds the reversible blocks. Network threads add to it while the main thread is busy, as in nodeos; only the
// main thread moves the root. Safe for concurrent use.
type forkDB struct {
	rule finality

	mu    sync.Mutex
	root  *node
	nodes map[Hash]*node // without the root
	best  *node
}

func newForkDB(rule finality, root *node) *forkDB {
	root.parent = nil
	return &forkDB{rule: rule, root: root, nodes: map[Hash]*node{}, best: root}
}

// add puts a block in. errDuplicate where it is there (with its node), errUnlinkable where its parent is not.
func (f *forkDB) add(b *Block, own bool) (*node, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := b.ID()
	if n := f.findLocked(id); n != nil {
		return n, errDuplicate
	}
	parent := f.findLocked(b.Previous)
	if parent == nil {
		return nil, errUnlinkable
	}
	if b.Slot <= parent.block.Slot {
		return nil, fmt.Errorf("block %s is not later than its parent", id)
	}
	n := f.rule.extend(parent, b)
	n.own = own
	f.nodes[id] = n
	if better(n, f.best) {
		f.best = n
	}
	return n, nil
}

// better is nodeos' order of fork heads: more irreversible, then longer, then the smaller id.
func better(a, b *node) bool {
	if a.lib != b.lib {
		return a.lib > b.lib
	}
	if a.num != b.num {
		return a.num > b.num
	}
	return a.id.less(b.id)
}

func (f *forkDB) findLocked(id Hash) *node {
	if f.root.id == id {
		return f.root
	}
	return f.nodes[id]
}

func (f *forkDB) find(id Hash) *node {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.findLocked(id)
}

func (f *forkDB) heads() (best, root *node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.best, f.root
}

func (f *forkDB) size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.nodes)
}

// branch is the blocks after the root up to n, oldest first.
func (f *forkDB) branch(n *node) []*node {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*node
	for ; n != nil && n != f.root && n.parent != nil; n = n.parent {
		out = append(out, n)
	}
	slices.Reverse(out)
	return out
}

// advance makes n the new root and drops whatever does not descend from it.
func (f *forkDB) advance(n *node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	keep := map[Hash]*node{}
	memo := map[*node]bool{n: true, f.root: false}
	var descends func(m *node) bool
	descends = func(m *node) bool {
		if m == nil {
			return false
		}
		if v, ok := memo[m]; ok {
			return v
		}
		memo[m] = descends(m.parent)
		return memo[m]
	}
	for id, m := range f.nodes {
		if m != n && descends(m) {
			keep[id] = m
		}
	}
	n.parent = nil
	f.root, f.nodes, f.best = n, keep, n
	for _, m := range keep {
		if better(m, f.best) {
			f.best = m
		}
	}
}

// ancestor is n's ancestor of that height, nil where it is older than the root.
func (f *forkDB) ancestor(n *node, num uint32) *node {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n != nil && n.num > num {
		n = n.parent
	}
	if n == nil || n.num != num {
		return nil
	}
	return n
}

func sortNodes(nodes []*node) {
	slices.SortFunc(nodes, func(a, b *node) int { return int(int64(a.num) - int64(b.num)) })
}
