package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"roundtable/durable"
	"roundtable/logkey"
	"roundtable/node"
)

// swap is the replacement of a node's data that is under way, or not settled yet. There is one at most. It is in HOME/backup/swap.json,
// written before anything is moved.
//
//   - moving: some of it was moved. Whoever finds it so moves all of it back: the former data is whole, and what was to come in its place
//     lies where it lay.
//   - in: the new data is in its place, and the node may run on it. The former one lies aside.
//   - back: the former data is being put back, and what was in its place is thrown away. Whoever finds it so goes on.
//
// Without the file nothing is under way; folders aside are then what the policy keeps for a while.
type swap struct {
	Operation uint64    `json:"operation"` // 0: a bootstrap
	Backup    string    `json:"backup"`    // id, or what else the data is, for people
	State     swapState `json:"state"`
	Side      string    `json:"side"`  // folder where the new data lay, with its names
	Aside     string    `json:"aside"` // folder where the former data lies, with its names
	Old       []string  `json:"old"`   // names that there were
	New       []string  `json:"new"`   // names that came
	Snapshot  string    `json:"snapshot,omitempty"`
	Genesis   string    `json:"genesis,omitempty"`
	Up        bool      `json:"up,omitempty"` // the node was up with it once
}

type swapState string

const (
	swapMoving swapState = "moving"
	swapIn     swapState = "in"
	swapBack   swapState = "back"
)

// replaced are the names in a data folder that a restore replaces. Nothing else there is touched: not finalizers/ (recordings, facts 38 and
// 39), not snapshots/. The state history is nodeos' own and goes with the state: it may not have a gap.
var replaced = []string{"blocks", "state", "state-history"}

// Folders in the data folder.
const (
	sideFolder  = "restore" // where a backup is fetched to
	asideFolder = "aside"   // what was replaced
)

const asideTime = "20060102T150405Z"

func (v *vault) swapPath() string { return v.dir("swap.json") }

// readSwap is called before anything runs.
func (v *vault) readSwap() error {
	text, err := os.ReadFile(v.swapPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	s := new(swap)
	if err == nil {
		err = json.Unmarshal(text, s)
	}
	if err != nil {
		return fmt.Errorf("manager: %s: %w (hint: it says which data the node has; see docs/decisions/0015 before you remove it)", v.swapPath(), err)
	}
	v.swap = s
	return nil
}

// writeSwap puts the swap on the disk, or takes it from there; under v.mu.
func (v *vault) writeSwap(s *swap, op string) error {
	var err error
	if s == nil {
		if err = os.Remove(v.swapPath()); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		if err == nil {
			err = durable.Sync(v.dir())
		}
	} else {
		text, _ := json.MarshalIndent(s, "", "  ") // it cannot fail
		err = durable.Write(v.swapPath(), append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("manager: journal of the node's data: %w", err)
	}
	v.swap = s
	v.step(op)
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// move renames, and has both folders keep it.
func (v *vault) move(from, to string) error {
	if err := v.rename(from, to); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	if err := errors.Join(v.last(filepath.Dir(from)), v.last(filepath.Dir(to))); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	v.step("move " + filepath.Base(from))
	return nil
}

// folder makes one in the node's data folder, such that its name lasts before anything is moved there.
func (v *vault) folder(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { // nodeos' own folders have this mode
		return err
	}
	for at := dir; within(at, v.data()); {
		at = filepath.Dir(at)
		if err := v.last(at); err != nil {
			return err
		}
	}
	return nil
}

// lasting has all that somebody else wrote below a folder survive the machine.
func (v *vault) lasting(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() && !e.Type().IsRegular() {
			return err
		}
		return v.last(path)
	})
}

// swapData moves the node's data aside and the new one in. The node is stopped. Where it fails, all is as it was.
func (v *vault) swapData(operation uint64, id, side, snapshot, genesis string) (err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.swap != nil {
		return fmt.Errorf("manager: the node's data was replaced by %s, which is not settled yet", v.swap.Backup)
	}
	s := &swap{
		Operation: operation, Backup: id, State: swapMoving, Side: side, Snapshot: snapshot, Genesis: genesis,
		Aside: v.data(asideFolder, fmt.Sprintf("%s-%d", v.now().UTC().Format(asideTime), operation)),
	}
	for _, name := range replaced {
		if exists(v.data(name)) {
			s.Old = append(s.Old, name)
		}
		if snapshot == "" && side != "" && exists(filepath.Join(side, name)) {
			s.New = append(s.New, name)
		}
	}
	if err := v.folder(s.Aside); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	if err := v.writeSwap(s, "begin to move"); err != nil {
		return err
	}
	err = func() error {
		for _, name := range s.Old {
			if err := v.move(v.data(name), filepath.Join(s.Aside, name)); err != nil {
				return err
			}
		}
		for _, name := range s.New {
			if err := v.move(filepath.Join(side, name), v.data(name)); err != nil {
				return err
			}
		}
		in := *s
		in.State = swapIn
		return v.writeSwap(&in, "all is moved")
	}()
	if err != nil {
		return errors.Join(err, v.unmove())
	}
	return nil
}

// unmove puts back what swapData had moved, and what the node had until a settling put it back; under v.mu. It may be repeated.
func (v *vault) unmove() error {
	s := v.swap
	if s == nil || s.State == swapIn {
		return nil
	}
	discard := filepath.Join(s.Aside, "discarded")
	for _, name := range replaced {
		at, old := v.data(name), filepath.Join(s.Aside, name)
		was, came := slices.Contains(s.Old, name), slices.Contains(s.New, name)
		if was && !exists(old) || !was && !exists(at) || !was && s.State == swapMoving && !came {
			continue // it never was moved, or is back already
		}
		if exists(at) {
			to := filepath.Join(s.Side, name)
			if s.State == swapBack || !came || exists(to) {
				to = filepath.Join(discard, name)
				if err := errors.Join(os.MkdirAll(discard, 0o755), os.RemoveAll(to)); err != nil {
					return fmt.Errorf("manager: %w", err)
				}
			}
			if err := v.move(at, to); err != nil {
				return err
			}
		}
		if was {
			if err := v.move(old, at); err != nil {
				return err
			}
		}
	}
	if err := v.writeSwap(nil, "all is back"); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(discard), os.Remove(s.Aside)); err != nil { // the folder itself only where nothing else is in it
		v.log.Warn("what was thrown away is still there", "folder", s.Aside, logkey.Err, err)
	}
	return nil
}

// mend finishes what an earlier process began to move back or forth. Without that no node is started.
func (v *vault) mend() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mended()
}

// mended is mend under v.mu.
func (v *vault) mended() error {
	if v.swap == nil || v.swap.State == swapIn {
		return nil
	}
	s := *v.swap
	if err := v.unmove(); err != nil {
		return fmt.Errorf("manager: the node's former data is not all back: %w (hint: it is in %s; the node is not started before it is in its place)", err, s.Aside)
	}
	v.log.Warn("the node's former data was put back: its replacement was not finished", "backup", s.Backup)
	return nil
}

// launchArgs are what the next start of the node wants for the data that lies there, and an error where it must not be started. A node
// that is to begin with a chain snapshot begins anew until it was up, and also after that until it is settled where it was killed: a plain
// start would be refused, and its blocks do not suffice for a replay (recordings, fact 19). What it left is cleared away.
func (v *vault) launchArgs() ([]string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.waits != "" {
		return nil, fmt.Errorf("manager: the node is not started: %s", v.waits)
	}
	if err := v.mended(); err != nil {
		return nil, err
	}
	s := v.swap
	switch {
	case s == nil || s.State != swapIn, s.Snapshot == "" && s.Up:
		return nil, nil
	case s.Genesis != "":
		return []string{"--genesis-json", s.Genesis}, nil
	case s.Snapshot == "":
		return nil, nil
	}
	if c, err := node.Holds(v.cfg().Node.DataDir); s.Up && (err != nil || c.Clean()) {
		return nil, nil
	}
	for _, name := range replaced {
		if err := os.RemoveAll(v.data(name)); err != nil {
			return nil, fmt.Errorf("manager: what an unfinished start left: %w", err)
		}
	}
	return []string{"--snapshot", s.Snapshot}, nil
}

// wasUp notes that the node is up with its new data.
func (v *vault) wasUp() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.swap == nil || v.swap.Up || v.swap.State != swapIn {
		return nil
	}
	next := *v.swap
	next.Up = true
	return v.writeSwap(&next, "the node was up")
}

// unsettled is the swap that is not settled, if there is one.
func (v *vault) unsettled() (swap, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.swap == nil {
		return swap{}, false
	}
	return *v.swap, true
}

// settle keeps the new data, where all of it is in its place; else the former one comes back first, as it had begun to. The former one stays
// aside for as long as the policy says.
func (v *vault) settle() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.mended(); err != nil {
		return err
	}
	s := v.swap
	if s == nil {
		return nil
	}
	if err := v.writeSwap(nil, "settled"); err != nil {
		return err
	}
	if s.Operation == 0 && s.Side != "" && within(s.Side, v.data(sideFolder)) { // an operation's is for Forget: the next one may have fetched the same into it
		if err := os.RemoveAll(s.Side); err != nil {
			v.log.Warn("what a backup was fetched to is still there", "folder", s.Side, logkey.Err, err)
		}
	}
	v.poke()
	return nil
}

// putBack has the former data back. The node is stopped.
func (v *vault) putBack() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.swap == nil {
		return nil
	}
	next := *v.swap
	if next.State == swapIn {
		next.State = swapBack
		if err := v.writeSwap(&next, "begin to put back"); err != nil {
			return err
		}
	}
	s := *v.swap
	if err := v.unmove(); err != nil {
		return fmt.Errorf("%w (hint: the node's former data is in %s)", err, s.Aside)
	}
	v.log.Warn("the node's former data was put back", "backup", s.Backup)
	return nil
}

// within reports whether a path is below a folder.
func within(path, folder string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && rel != "." && filepath.IsLocal(rel)
}

// dropAside removes what lies aside longer than the policy says, and says when to look again: 0 is never.
func (v *vault) dropAside(ctx context.Context) time.Duration {
	entries, err := os.ReadDir(v.data(asideFolder))
	if err != nil {
		return 0 // there is none
	}
	var next time.Duration
	for _, e := range entries {
		path := v.data(asideFolder, e.Name())
		at, err := time.Parse(asideTime, e.Name()[:min(len(asideTime), len(e.Name()))])
		if s, ok := v.unsettled(); err != nil || ok && s.Aside == path || ctx.Err() != nil {
			continue // nobody's of ours, or still needed
		}
		if left := v.cfg().Backup.KeepOld.D() - v.now().Sub(at); left > 0 {
			if next == 0 || left < next {
				next = left
			}
			continue
		}
		v.log.Info("the node's former data is dropped", "folder", path, "kept", v.cfg().Backup.KeepOld.D())
		if err := os.RemoveAll(path); err != nil {
			v.log.Warn("the node's former data is still there", "folder", path, logkey.Err, err)
		}
	}
	return next
}
