package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// controller is the chain: the fork database, the applied head, and the irreversible blocks on disk. Only the main
// thread changes it; fork database and block log may be read by network threads through branchAfter and idAt.
type controller struct {
	clock   clock
	log     *logger
	sched   *schedule
	genesis *genesis
	chainID Hash
	savanna bool
	dirs    folders

	forks *forkDB
	head  *node  // applied; differs from forks' best head while blocks wait
	limit uint32 // no block above this height is applied (pause_at_block); 0: none

	diskMu sync.Mutex // guards disk for network threads
	disk   *blockLog
	state  *stateFile
	safety *safetyFile

	// Called on the main thread:
	info     func()      // head or irreversible block changed
	lib      func(*node) // a block became irreversible
	accepted func(*node) // a block was applied that this process did not make just now
}

var logApplied = site{"controller.cpp", 3616, "log_applied"}

// receive is what a network thread does with a block: check it and put it into the fork database. It reports whether the block
// is new. Applying it is the main thread's.
func (c *controller) receive(b *Block) (bool, error) {
	id := b.ID()
	_, root := c.forks.heads()
	if b.Num() <= root.num {
		if known, ok := c.idAt(b.Num()); ok && known == id {
			return false, nil
		}
		return false, errUnlinkable
	}
	if c.forks.find(id) != nil {
		return false, nil
	}
	if slotStart(b.Slot).Sub(c.clock.now()) > 7*time.Second {
		return false, fmt.Errorf("received a block from the future, ignoring it: %s", id)
	}
	if err := c.sched.verify(b, c.savanna); err != nil {
		return false, err
	}
	_, err := c.forks.add(b, false)
	if errors.Is(err, errDuplicate) {
		return false, nil
	}
	return err == nil, err
}

// idAt is the id of the irreversible block (or the root) of that height.
func (c *controller) idAt(num uint32) (Hash, bool) {
	_, root := c.forks.heads()
	if root.num == num {
		return root.id, true
	}
	c.diskMu.Lock()
	defer c.diskMu.Unlock()
	if c.disk == nil {
		return Hash{}, false
	}
	if b, err := c.disk.read(num); err == nil && b != nil {
		return b.ID(), true
	}
	return Hash{}, false
}

// blockAt is the block of that height on the best branch, nil where there is none.
func (c *controller) blockAt(num uint32) *Block {
	best, root := c.forks.heads()
	if num > root.num {
		if n := c.forks.ancestor(best, num); n != nil {
			return n.block
		}
		return nil
	}
	c.diskMu.Lock()
	defer c.diskMu.Unlock()
	if c.disk != nil {
		if b, err := c.disk.read(num); err == nil && b != nil {
			return b
		}
	}
	if num == root.num {
		return root.block
	}
	return nil
}

// applyBlocks moves the head to the best block the fork database has, as controller::apply_blocks does, and returns how
// many blocks were applied.
func (c *controller) applyBlocks() int {
	best, _ := c.forks.heads()
	if c.limit != 0 && best.num > c.limit {
		if c.head.num >= c.limit {
			return 0
		}
		best = c.forks.ancestor(best, c.limit)
	}
	if best.id == c.head.id {
		return 0
	}
	branch := c.forks.branch(best)
	start := -1
	for i, n := range branch {
		if n.parent != nil && n.parent.id == c.head.id {
			start = i
		}
	}
	if start >= 0 {
		branch = branch[start:]
		for _, n := range branch {
			c.apply(n)
		}
		return len(branch)
	}
	return c.switchForks(best, branch)
}

func (c *controller) switchForks(best *node, branch []*node) int {
	old := c.head
	describe := func(n *node) string {
		return fmt.Sprintf("%s (block number %d %s) [ irreversible_blocknum: %d, block_num: %d, timestamp: %s, id: %s ]", n.id, n.num,
			n.block.Producer, n.lib, n.num, slotTime(n.block.Slot), n.id)
	}
	c.log.log(logDefault, levelInfo, site{"controller.cpp", 4478, "operator()"}, "switching forks from %s to %s", describe(old), describe(best))
	if old.num == best.num && old.block.Producer == best.block.Producer {
		c.log.log(logDefault, levelWarn, site{"controller.cpp", 4483, "operator()"}, "%s double produced block %d", best.block.Producer, best.num)
	}
	ours := map[Hash]bool{}
	removed := c.forks.branch(old)
	for _, n := range removed {
		ours[n.id] = true
	}
	theirs := map[Hash]bool{}
	for _, n := range branch {
		theirs[n.id] = true
	}
	list := func(nodes []*node, except map[Hash]bool) string {
		var parts []string
		for _, n := range nodes {
			if !except[n.id] {
				parts = append(parts, fmt.Sprintf("%d:%s", n.num, n.id))
			}
		}
		return strings.Join(parts, ",")
	}
	gone, fresh := list(removed, theirs), list(branch, ours)
	applied := 0
	for _, n := range branch {
		if !ours[n.id] {
			c.apply(n)
			applied++
		}
	}
	c.log.log(logDefault, levelInfo, site{"controller.cpp", 4593, "operator()"}, "successfully switched fork to new head %s, removed {%s}, applied {%s}",
		best.id, gone, fresh)
	return applied
}

// apply makes n the head, logs it, and makes irreversible what it implies.
func (c *controller) apply(n *node) {
	b := n.block
	now := c.clock.now()
	age := now.Sub(slotStart(b.Slot))
	if !n.own && (age < 5*time.Minute || n.num%1000 == 0) {
		c.log.log(logDefault, levelInfo, logApplied,
			"Received block %s... #%d @ %s signed by %s [trxs: %d, lib: %d, net: %d, cpu: %d us, elapsed: %d us, applying time: %d us, latency: %d ms]",
			n.id.Short(), n.num, slotTime(b.Slot), b.Producer, len(b.Trxs), loggedLib(n), 120*len(b.Trxs), 100+100*len(b.Trxs),
			20+rand.IntN(60), 150+rand.IntN(300), age.Milliseconds())
	}
	c.accepted(n)
	c.commit(n)
}

// loggedLib is what nodeos prints as lib: 0 while only the genesis block is irreversible.
func loggedLib(n *node) uint32 {
	if n.lib <= 1 {
		return 0
	}
	return n.lib
}

func (c *controller) commit(n *node) {
	c.head = n
	if err := errors.Join(c.state.touch(n.id), c.safety.vote(n)); err != nil {
		panic(err) // nodeos would die of SIGBUS
	}
	_, root := c.forks.heads()
	if n.lib > root.num {
		for _, m := range c.forks.branch(n) {
			if m.num > n.lib {
				break
			}
			if err := c.store(m.block); err != nil {
				panic(err) // nodeos would die of a full disk, too
			}
			c.forks.advance(m)
			c.lib(m)
		}
	}
	c.info()
}

func (c *controller) store(b *Block) error {
	c.diskMu.Lock()
	defer c.diskMu.Unlock()
	return c.disk.append(b)
}

// headDescendsFromPendingLib reports whether the applied head stands on what the best branch calls irreversible. A
// producing node does not apply received blocks before that fails (producer_plugin.cpp, process_pending_blocks): so it stays
// on its own branch for up to two blocks.
func (c *controller) headDescendsFromPendingLib() bool {
	best, root := c.forks.heads()
	if best.lib <= root.num {
		return true
	}
	want := c.forks.ancestor(best, best.lib)
	have := c.forks.ancestor(c.head, best.lib)
	return want != nil && have != nil && want.id == have.id
}

// close writes what a clean shutdown leaves: chain_head.dat and fork_db.dat.
func (c *controller) close() error {
	best, root := c.forks.heads()
	c.log.log(logDefault, levelInfo, site{"block_handle.cpp", 21, "write"}, "Writing chain_head block %d %s", c.head.num, c.head.id)
	if err := writeJSON(c.dirs.head(), savedHead{c.head.id, c.head.num, save(c.head)}); err != nil {
		return err
	}
	c.log.log(logDefault, levelInfo, site{"fork_database.cpp", 677, "close"}, "Persisting to fork_database file: %s", c.dirs.forkDB())
	saved := savedForks{Root: save(root)}
	c.forks.mu.Lock()
	var nodes []*node
	for _, n := range c.forks.nodes {
		nodes = append(nodes, n)
	}
	c.forks.mu.Unlock()
	sortNodes(nodes)
	for _, n := range nodes {
		saved.Blocks = append(saved.Blocks, n.block)
	}
	if len(nodes) == 0 {
		c.log.log(logDefault, levelInfo, site{"fork_database.cpp", 171, "close_impl"}, "Writing empty fork_database with root %d:%s", root.num, root.id)
	} else {
		c.log.log(logDefault, levelInfo, site{"fork_database.cpp", 168, "close_impl"}, "Writing fork_database %d blocks with root %d:%s and head %d:%s",
			len(nodes), root.num, root.id, best.num, best.id)
	}
	return writeJSON(c.dirs.forkDB(), saved)
}

// writeSnapshot writes a chain snapshot of the head.
func (c *controller) writeSnapshot(w io.Writer, n *node) error {
	sum, err := c.state.sum(nil)
	if err != nil {
		return err
	}
	head, err := json.Marshal(snapshotFile{Magic: snapshotMagic, Genesis: c.genesis.raw, Chain: c.chainID, Head: save(n), Size: c.state.head.Runs * runSize, Sum: sum})
	if err != nil {
		return err
	}
	if _, err := w.Write(append(head, '\n')); err != nil {
		return err
	}
	_, err = c.state.sum(w)
	return err
}
