package sim

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"time"
)

// loadChain is chain_plugin's plugin_initialize: which of state, block log, snapshot and genesis make the chain, and what
// is wrong with them. The order of checks and the messages are nodeos' (recordings b-logs/02 and 03, g-disk-layout).
func (n *Node) loadChain() error {
	o, f := n.opts, n.dirs
	if err := n.features(); err != nil {
		return err
	}
	if len(n.producers) > 0 {
		n.say(chainSite(665), "Setting vote-threads to 4 on producing node")
	}
	for _, dir := range []string{f.blocks, f.reversible, f.state, f.snapshots} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	snap := o.get("snapshot")
	switch {
	case o.flag("delete-all-blocks"):
		n.say(chainSite(770), "Deleting state database and blocks")
		if err := errors.Join(f.removeState(), removeInside(f.blocks), os.MkdirAll(f.reversible, 0o755)); err != nil {
			return err
		}
	case o.flag("hard-replay-blockchain"):
		n.say(site{"chain_plugin.cpp", 486, "do_hard_replay"}, "Hard replay requested: deleting state database")
		if err := errors.Join(f.removeState(), n.repairLog()); err != nil {
			return err
		}
	case o.flag("replay-blockchain"):
		n.say(chainSite(778), "Replay requested: deleting state database")
		if err := f.removeState(); err != nil {
			return err
		}
	}
	if snap != "" {
		return n.loadSnapshot(o.path(o.dataDir, snap))
	}
	disk, err := openBlockLog(f, o.strides())
	if err != nil {
		return err
	}
	if err := n.chooseGenesis(disk); err != nil {
		return err
	}
	if disk != nil && disk.first() > 1 && (!f.exists(f.memory())) {
		return errors.Join(configError(fmt.Sprintf("replay-blockchain without snapshot requested without a full block log, first block: %d", disk.first()),
			fmt.Sprintf(`{"n":%d}`, disk.first()), chainSite(842)), disk.close())
	}
	state, fresh, err := openState(f, o.stateSize(), n.chain.genesis.raw)
	if err != nil {
		return err
	}
	if !fresh && disk == nil { // the state knows its chain without any block
		if n.chain.genesis, err = parseGenesis(state.head.Genesis); err != nil {
			return err
		}
		if err := n.useGenesis(); err != nil {
			return err
		}
	}
	n.state, n.chain.state = state, state
	if disk != nil {
		if fresh {
			n.say(chainSite(858), "Starting fresh blockchain state using genesis state extracted from blocks.log.")
		}
		n.logLine(disk)
	} else if o.get("genesis-json") != "" {
		n.say(chainSite(915), "Starting fresh blockchain state using provided genesis state.")
	}
	n.chain.disk, n.freshState = disk, fresh
	return nil
}

func (n *Node) logLine(d *blockLog) {
	n.say(site{"block_log.cpp", 742, "open"}, "Log has %d blocks", d.cur.last-d.cur.first+1)
}

// chooseGenesis takes the block log's genesis, the given file's, or the built-in one; a file that differs from the log is refused.
func (n *Node) chooseGenesis(disk *blockLog) error {
	path := n.opts.get("genesis-json")
	var given *genesis
	if path != "" {
		if !n.dirs.exists(path) {
			return configError(fmt.Sprintf("Specified genesis file '%s' does not exist.", path), fmt.Sprintf(`{"genesis":%q}`, path), chainSite(871))
		}
		var err error
		if given, err = readGenesis(path); err != nil {
			return newError(3100005, "genesis_exception", "Genesis exception", err.Error(), "", chainSite(876))
		}
		n.say(chainSite(884), "Using genesis state provided in '%s'", path)
	}
	switch {
	case disk != nil:
		g, err := parseGenesis(disk.genesis)
		if err != nil {
			return err
		}
		if given != nil && string(given.raw) != string(g.raw) {
			return configError("Genesis state, provided via command line arguments, does not match the existing genesis state in blocks.log. "+
				"It is not necessary to provide genesis state arguments when a full blocks.log file already exists.", "", chainSite(888))
		}
		n.chain.genesis = g
	case given != nil:
		n.chain.genesis = given
	default:
		g, err := parseGenesis([]byte(defaultGenesis))
		if err != nil {
			return err
		}
		n.chain.genesis = g
	}
	return n.useGenesis()
}

func (n *Node) useGenesis() error {
	s, err := newSchedule(n.opts.get("sim-schedule"), n.opts.all("sim-keys"), n.chain.genesis)
	if err != nil {
		return configError(err.Error(), "", chainSite(890))
	}
	n.chain.sched = s
	id := sha256.New()
	id.Write(n.chain.genesis.raw)
	if n.opts.set("sim-schedule") || n.opts.set("sim-keys") || n.chain.savanna {
		fmt.Fprintf(id, "%s savanna=%t", s.json(), n.chain.savanna)
	}
	n.chain.chainID = Hash(id.Sum(nil))
	return nil
}

// loadSnapshot starts from a chain snapshot; state/ must be empty. An existing block log is replayed behind it in startChain.
func (n *Node) loadSnapshot(path string) error {
	f := n.dirs
	if !f.exists(path) {
		return configError("Cannot load snapshot, "+path+" does not exist", fmt.Sprintf(`{"name":%q}`, path), chainSite(794))
	}
	snap, err := readSnapshot(path)
	if err != nil {
		var e *chainError
		if errors.As(err, &e) {
			n.log.log(logDefault, levelWarn, site{"snapshot.cpp", 277, "validate"}, "%s", e.detail())
			return e.with("rethrow", "", site{"snapshot.cpp", 277, "validate"})
		}
		return err
	}
	if f.exists(f.memory()) {
		return configError("Snapshot can only be used to initialize an empty database, remove directory: "+f.state,
			fmt.Sprintf(`{"d":%q}`, f.state), chainSite(814))
	}
	g, err := parseGenesis(snap.Genesis)
	if err != nil {
		return err
	}
	n.chain.genesis = g
	if err := n.useGenesis(); err != nil {
		return err
	}
	if n.chain.disk, err = openBlockLog(f, n.opts.strides()); err != nil {
		return err
	}
	if d := n.chain.disk; d != nil {
		n.logLine(d)
		if err := n.fits(snap, d); err != nil {
			return errors.Join(err, d.close())
		}
	}
	n.snapshot = snap
	n.state, _, err = openState(f, n.opts.stateSize(), g.raw)
	n.chain.state = n.state
	return err
}

// fits refuses a snapshot of another chain than the block log's, and one that the log does not reach (from Spring's source, not
// recorded: chain_plugin.cpp and controller.cpp, read_from_snapshot).
func (n *Node) fits(snap *snapshotFile, d *blockLog) error {
	if string(d.genesis) != string(snap.Genesis) {
		return configError(fmt.Sprintf("snapshot chain ID (%s) does not match the chain ID (of another genesis) in the block log", snap.Chain), "", chainSite(832))
	}
	if num := snap.Head.Block.Num(); d.first() > num+1 || num > d.last() {
		return newError(3190000, "block_log_exception", "Block log exception",
			"Block log is provided with snapshot but does not contain the head block from the snapshot nor a block right after it",
			fmt.Sprintf(`{"snapshot_head_block":%d,"block_log_first_num":%d,"block_log_last_num":%d}`, num, d.first(), d.last()), site{"controller.cpp", 1960, "read_from_snapshot"})
	}
	return nil
}

// repairLog is --hard-replay-blockchain: the old blocks directory is kept aside and a new one is built from it.
func (n *Node) repairLog() error {
	f := n.dirs
	say := func(line int, format string, args ...any) {
		n.say(site{"block_log.cpp", line, "repair_log"}, format, args...)
	}
	say(1408, "Recovering Block Log...")
	backup := f.blocks + "-" + formatTime(n.clock.now())
	old, err := openBlockLog(f, n.opts.strides())
	if old == nil {
		return err // nothing to repair
	}
	if err := errors.Join(os.Rename(f.blocks, backup), os.MkdirAll(f.reversible, 0o755)); err != nil {
		return err
	}
	say(1433, "Moved existing blocks directory to backup location: '%s'", backup)
	say(1440, "Reconstructing '%s' from backed up block log", f.log())
	if old.cur == nil {
		return err
	}
	fresh, cerr := createBlockLog(f, strideRule{}, old.genesis, old.first())
	if cerr != nil {
		return cerr
	}
	for num := old.first(); num <= old.last(); num++ {
		b, err := old.read(num)
		if err != nil || b == nil {
			break
		}
		if err := fresh.append(b); err != nil {
			return err
		}
	}
	index := func(line int, format string, args ...any) {
		n.say(site{"block_log.cpp", line, "construct_index"}, format, args...)
	}
	index(1365, "Will read existing blocks.log file %s", f.log())
	index(1366, "Will write new blocks.index file %s", f.index())
	index(430, "Will write new blocks.index file %s", f.index())
	index(434, "block log version= 3, number of blocks %d", fresh.last()-fresh.first()+1)
	index(440, "first block= %d         last block= %d", fresh.first(), fresh.last())
	say(1463, "Existing block log was undamaged. Recovered all irreversible blocks up to block number %d.", fresh.last())
	return errors.Join(old.close(), fresh.close())
}

// startChain is controller::startup: it ends with a head, a fork database and the block log in place.
func (n *Node) startChain() error {
	c := n.chain
	rule := finality{c.sched.names, c.savanna, uint32(n.opts.num("sim-lib-lag"))} //nolint:gosec // a small number
	ctl := func(line int, fn, format string, args ...any) {
		n.say(site{"controller.cpp", line, cut(fn, 20)}, format, args...)
	}
	var root *node
	switch {
	case n.snapshot != nil:
		if d := c.disk; d != nil {
			ctl(1962, "startup", "Starting initialization from snapshot and block log %d-%d, this may take a significant amount of time", d.first(), d.last())
		} else {
			ctl(1968, "startup", "Starting initialization from snapshot and no block log, this may take a significant amount of time")
		}
		root = n.snapshot.Head.node()
		ctl(1975, "startup", "Snapshot loaded, head: %d : %s", root.num, root.id)
		if c.disk == nil {
			ctl(1714, "should_replay_block_log", "no block log found")
			d, err := createBlockLog(n.dirs, n.opts.strides(), c.genesis.raw, root.num)
			if err != nil {
				return err
			}
			if c.disk = d; d.append(root.block) != nil {
				return errors.New("blocks.log: cannot write")
			}
		}
		var err error
		if root, err = n.replay(rule, root); err != nil {
			return err
		}
	case n.freshState:
		ctl(1683, "initialize_blockchain_state", "Initializing new blockchain with genesis state")
		if n.opts.num("chain-state-db-size-mb") < 2 {
			return &chainError{exit: 1, what: "bad alloc"}
		}
		g := c.genesis.block()
		root = &node{block: g, id: g.ID(), num: 1, lib: 1}
		if c.disk == nil {
			d, err := createBlockLog(n.dirs, n.opts.strides(), c.genesis.raw, 1)
			if err != nil {
				return err
			}
			if c.disk = d; d.append(g) != nil {
				return errors.New("blocks.log: cannot write")
			}
		}
		var err error
		if root, err = n.replay(rule, root); err != nil {
			return err
		}
	default:
		return n.resumeChain(rule)
	}
	if err := errors.Join(removeIfThere(n.dirs.forkDB()), removeIfThere(n.dirs.head())); err != nil {
		return err
	}
	c.forks = newForkDB(rule, root)
	c.head = root
	if n.snapshot == nil {
		n.log.log(logDefault, levelWarn, site{"controller.cpp", 1894, "operator()"},
			"No existing chain state or fork database. Initializing fresh blockchain state and resetting fork database.")
	}
	ctl(1914, "operator()", "fork database has no pending blocks root %d : %s", root.num, root.id)
	if n.snapshot != nil {
		ctl(1987, "startup", "Finished initialization from snapshot (snapshot load time was 0s)")
	}
	return nil
}

// replay applies what the block log has after root and returns the last block as the new root.
func (n *Node) replay(rule finality, root *node) (*node, error) {
	d := n.chain.disk
	ctl := func(line int, fn, format string, args ...any) {
		n.say(site{"controller.cpp", line, cut(fn, 20)}, format, args...)
	}
	if d.last() <= root.num {
		if n.snapshot == nil || d.first() < root.num {
			ctl(1722, "should_replay_block_log", "no irreversible blocks need to be replayed from block log")
		}
		return root, nil
	}
	ctl(1737, "replay_block_log", "existing block log, attempting to replay from %d to %d blocks", root.num+1, d.last())
	started, from := time.Now(), root.num
	for num := root.num + 1; num <= d.last(); num++ {
		b, err := d.read(num)
		if err != nil || b == nil || b.Previous != root.id {
			return nil, newError(3030001, "unlinkable_block_exception", "Unlinkable block", fmt.Sprintf("unlinkable block %d", num), "",
				site{"controller.cpp", 4442, "replay_irreversible_block"}).with("", "", site{"chain_plugin.cpp", 1181, "plugin_startup"})
		}
		next := rule.extend(root, b)
		next.parent = nil
		root = next
		if num%500 == 0 {
			ctl(1786, "replay_block_log", "%d of %d", num, d.last())
		}
	}
	count := root.num - from
	took := time.Since(started)
	ctl(1795, "replay_block_log", "%d irreversible blocks replayed from block log, chain head %d", count, root.num)
	ctl(1797, "replay_block_log", "replayed %d blocks in %d seconds, %.17f ms/block", count, int(took.Seconds()), took.Seconds()*1000/float64(count))
	ctl(1804, "replay_block_log", "Setting chainbase revision to %d", root.num)
	return root, nil
}

// resumeChain goes on from a clean shutdown: chain_head.dat and fork_db.dat, which are removed at once.
func (n *Node) resumeChain(rule finality) error {
	c, f := n.chain, n.dirs
	var head savedHead
	var forks savedForks
	failed := func(message string) error {
		return newError(3020000, "fork_database_exception", "Fork database exception", message, "", site{"controller.cpp", 1835, "replay"}).
			with("", "", site{"chain_plugin.cpp", 1181, "plugin_startup"})
	}
	if err := readJSON(f.head(), &head); err != nil {
		return newError(3060000, "database_exception", "Database exception", "No existing chain_head.dat file", "", site{"controller.cpp", 2028, "startup"}).
			with("", "", site{"chain_plugin.cpp", 1181, "plugin_startup"})
	}
	n.say(site{"block_handle.cpp", 52, "read"}, "Loading chain_head block %d %s", head.Num, head.Head)
	switch {
	case c.disk == nil:
		n.say(site{"controller.cpp", 1714, "should_replay_block_"}, "no block log found")
	case c.disk.last() <= head.Num:
		n.say(site{"controller.cpp", 1722, "should_replay_block_"}, "no irreversible blocks need to be replayed from block log")
	}
	if err := readJSON(f.forkDB(), &forks); err != nil || forks.Root.Block == nil {
		return failed("No existing fork database despite existing chain state. Replay required.")
	}
	// From here on nothing is recorded: a head that is not the state's, and a log that does not fit (Spring's source, controller.cpp).
	if head.Head != c.state.head.Head {
		return failed(fmt.Sprintf("fork database head (%d) is inconsistent with state (%s)", head.Num, c.state.head.Head.Short()))
	}
	root := forks.Root.node()
	if c.disk == nil {
		d, err := createBlockLog(n.dirs, n.opts.strides(), c.genesis.raw, root.num+1)
		if err != nil {
			return err
		}
		c.disk = d
	} else if d := c.disk; d.last() >= d.first() && (d.first() > root.num || root.num > d.last()) {
		return newError(3190000, "block_log_exception", "Block log exception",
			fmt.Sprintf("block log (ranging from %d to %d) does not contain the last irreversible block (%d)", d.first(), d.last(), root.num), "",
			site{"controller.cpp", 2040, "startup"}).with("", "", site{"chain_plugin.cpp", 1181, "plugin_startup"})
	}
	if from := c.disk.last(); from > root.num || from > head.Num { // blocks from elsewhere, or the state is of an earlier time
		if head.Num < root.num {
			root = head.Node.node()
		}
		var err error
		if root, err = n.replay(rule, root); err != nil {
			return err
		}
	}
	c.forks = newForkDB(rule, root)
	for _, b := range forks.Blocks {
		if b.Num() <= root.num {
			continue
		}
		if _, err := c.forks.add(b, false); err != nil && !errors.Is(err, errUnlinkable) {
			return failed(err.Error())
		}
	}
	if c.head = c.forks.find(head.Head); c.head == nil && root.num >= head.Num {
		c.head = root
	}
	if c.head == nil {
		return failed("chain head is not in the fork database")
	}
	if err := errors.Join(os.Remove(f.forkDB()), os.Remove(f.head())); err != nil {
		return err
	}
	best, _ := c.forks.heads()
	n.say(site{"controller.cpp", 1910, "operator()"}, "fork database size %d head %d : %s, root %d : %s", c.forks.size(), best.num, best.id, root.num, root.id)
	n.say(site{"controller.cpp", 1939, "operator()"}, "fork database contains %d blocks after head from %d to %d", best.num-c.head.num, c.head.num, best.num)
	return nil
}
