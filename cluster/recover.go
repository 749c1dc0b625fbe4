package cluster

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"roundtable/durable"
	"roundtable/fsm"
)

var quiet = slog.New(slog.DiscardHandler)

// Recovery is a member's raft folder, opened while no manager runs on it, to go on alone with what it holds: for a group that
// lost its majority for good. It is for one goroutine.
//
// Raft knows no safe way to do this, only a least bad one: what the log holds counts as committed, whether it was or not, and
// the configuration becomes this member alone. What makes it safe for signatures is the state's part (fsm.State.Recovered) and
// that the lost members' nodes are off, which only the operator can know.
type Recovery struct {
	dir, id string
	stores  Stores
	found   Found

	// step is asked before each step; an error ends the recovery there, as a crash would. A seam for tests.
	step func(name string) error
}

// Found is what a raft folder holds.
type Found struct {
	Group      string
	State      *fsm.State    // after all entries of the log
	Servers    []raft.Server // raft's newest configuration
	Snapshot   Snapshot      // the raft snapshot that the state begins with: committed for certain; zero: none
	LastIndex  uint64
	LastTerm   uint64
	Newest     int64      // Unix ms, the latest time that an entry was stamped with; 0: there is none
	Unsure     []LogEntry // the entries behind the snapshot: each may have been committed or not
	Unfinished bool       // a recovery of this folder was begun before and not finished
	Filling    bool       // the member lost its log before and had not regained all of it: what was committed may be missing here
}

// LogEntry is one of raft's log, as people want to see it.
type LogEntry struct {
	Index, Term uint64
	At          int64 // Unix ms; 0 for an entry of raft's own
	Kind, By    string
}

// Members are all that the state or raft's configuration knows, this one included, by id.
func (f Found) Members() []string {
	ids := f.State.MemberIDs()
	for _, s := range f.Servers {
		if id := string(s.ID); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Address is where raft's configuration has a member; "" where it does not know it.
func (f Found) Address(id string) string {
	for _, s := range f.Servers {
		if string(s.ID) == id {
			return string(s.Address)
		}
	}
	return ""
}

// OpenRecovery opens a raft folder and reads all of it; nothing is changed. The caller keeps managers out of the home. A
// ConfigError carries a hint for the operator.
func OpenRecovery(dir, id string) (*Recovery, error) {
	if _, err := os.Stat(filepath.Join(dir, raftFile)); err != nil {
		return nil, &ConfigError{fmt.Sprintf("there is no raft log in %s: %v", dir, err), "name the home of a member that ran; one that never joined has nothing to go on with"}
	}
	stores, err := fileStores(dir, raftLogger(quiet), false)
	if err != nil {
		return nil, err
	}
	r := &Recovery{dir: dir, id: id, stores: stores, step: func(string) error { return nil }}
	if err := r.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("cluster: %w", err), r.Close())
	}
	if !slices.Contains(r.found.Members(), id) {
		return nil, errors.Join(&ConfigError{fmt.Sprintf("%s is no member by what %s holds: %s", id, dir, strings.Join(r.found.Members(), ", ")), "it was removed, or never joined: recover another survivor"}, r.Close())
	}
	return r, nil
}

// Close lets go of the folder.
func (r *Recovery) Close() error { return r.stores.Close() }

// Found is what the folder holds.
func (r *Recovery) Found() Found { return r.found }

// read plays the folder's raft snapshot and log.
func (r *Recovery) read() error {
	var broken error
	m := newMachine(1<<62, func(err error) { broken = err })
	f := Found{}
	var err error
	if f.Group, err = storedText(r.stores.Stable, groupKey); err != nil {
		return err
	}
	recovering, err := storedText(r.stores.Stable, recoveringKey)
	if err != nil {
		return err
	}
	filling, err := storedText(r.stores.Stable, fillingKey)
	if err != nil {
		return err
	}
	f.Unfinished, f.Filling = recovering != "", filling != ""
	list, err := r.stores.Snapshots.List()
	if err != nil {
		return err
	}
	for i, s := range list { // newest first
		meta, source, err := r.stores.Snapshots.Open(s.ID)
		if err == nil {
			err = m.Restore(source)
		}
		if err == nil {
			f.Snapshot, f.Servers = Snapshot{meta.ID, meta.Index, meta.Term, meta.Size}, meta.Configuration.Servers
			f.LastIndex, f.LastTerm = meta.Index, meta.Term
			break
		}
		if i == len(list)-1 {
			return fmt.Errorf("no raft snapshot can be read: %w", err)
		}
	}
	last, err := r.stores.Log.LastIndex()
	if err != nil {
		return err
	}
	for index := f.LastIndex + 1; index <= last; index++ {
		var l raft.Log
		if err := r.stores.Log.GetLog(index, &l); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		e := LogEntry{Index: l.Index, Term: l.Term, Kind: "raft: " + l.Type.String()}
		switch l.Type {
		case raft.LogCommand:
			m.Apply(&l)
			if broken != nil {
				return broken
			}
			entry, err := fsm.Decode(l.Data)
			if err != nil {
				return err
			}
			e.At, e.By, e.Kind = entry.At, entry.By, entry.Command.Kind()
			f.Newest = max(f.Newest, entry.At)
		case raft.LogConfiguration:
			f.Servers = raft.DecodeConfiguration(l.Data).Servers
		}
		f.Unsure = append(f.Unsure, e)
		f.LastIndex, f.LastTerm = l.Index, l.Term
	}
	f.State = m.view.Load().state
	if h := f.State.History; len(h) > 0 {
		f.Newest = max(f.Newest, h[len(h)-1].At)
	}
	r.found = f
	return nil
}

// Done reports that a recovery without these members is finished already: the group goes on with this member alone, or it went
// on since.
func (r *Recovery) Done(lost []string) bool {
	_, n, _ := lineage(r.found.Group)
	known := r.found.Members()
	return n > 0 && !r.found.Unfinished && !slices.ContainsFunc(lost, func(id string) bool { return slices.Contains(known, id) })
}

// The steps, in their order. Whatever stops the recovery before one of them, it may be run again from the beginning.
const (
	stepCopy     = "copy"     // the folder as it was
	stepGroup    = "group"    // a new id: from here on the old members' streams are refused, and no manager starts on this home
	stepSnapshot = "snapshot" // the recovered state, with this member alone in the configuration
	stepFinish   = "finish"   // managers may start
)

// Run makes this member, found at a raft address, the only one. It returns where the folder was copied to, as soon as that
// is done.
func (r *Recovery) Run(how fsm.Recovery, address string, now time.Time) (saved string, err error) {
	if err := r.step(stepCopy); err != nil {
		return "", err
	}
	saved = fmt.Sprintf("%s.before-recover-%s", r.dir, now.UTC().Format("20060102T150405.000Z"))
	if err := copyFolder(r.dir, saved); err != nil {
		return "", fmt.Errorf("cluster: keep the raft folder: %w", err)
	}
	if err := r.step(stepGroup); err != nil {
		return saved, err
	}
	if err := r.stores.Stable.Set(recoveringKey, []byte(now.UTC().Format(time.RFC3339))); err != nil {
		return saved, fmt.Errorf("cluster: note that a recovery is under way: %w", err)
	}
	if err := r.stores.Stable.Set(groupKey, []byte(recoveredGroup(r.found.Group, r.id))); err != nil {
		return saved, fmt.Errorf("cluster: keep the group's id: %w", err)
	}
	if err := r.step(stepSnapshot); err != nil {
		return saved, err
	}
	conf := raft.DefaultConfig()
	conf.LocalID, conf.Logger = raft.ServerID(r.id), raftLogger(quiet)
	alone := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: conf.LocalID, Address: raft.ServerAddress(address)}}}
	_, transport := raft.NewInmemTransport(raft.ServerAddress(address))
	var broken error
	m := recoveredMachine{newMachine(1<<62, func(err error) { broken = err }), how}
	if err := raft.RecoverCluster(conf, m, r.stores.Log, r.stores.Stable, r.stores.Snapshots, transport, alone); err != nil || broken != nil {
		return saved, fmt.Errorf("cluster: recover: %w", errors.Join(err, broken))
	}
	if err := r.step(stepFinish); err != nil {
		return saved, err
	}
	// It goes on alone with what it has, whether that is all or not: who is to lead must be able to vote.
	if err := r.stores.Stable.Set(fillingKey, nil); err != nil {
		return saved, fmt.Errorf("cluster: let the survivor vote: %w", err)
	}
	if err := r.stores.Stable.Set(recoveringKey, nil); err != nil {
		return saved, fmt.Errorf("cluster: note that the recovery is done: %w", err)
	}
	return saved, r.read()
}

// recoveredMachine plays the log, and then gives raft the recovered state for its snapshot.
type recoveredMachine struct {
	*machine
	how fsm.Recovery
}

// Snapshot implements raft.FSM.
func (m recoveredMachine) Snapshot() (raft.FSMSnapshot, error) {
	if m.broken.Load() {
		return nil, errBroken
	}
	return stateSnapshot{m.view.Load().state.Recovered(m.how)}, nil
}

// copyFolder copies a folder's files, durably. The copy has its name only once it is whole.
func copyFolder(from, to string) error {
	part := to + ".part"
	var folders []string
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(part, rel)
		switch {
		case d.IsDir():
			folders = append(folders, target)
			return os.MkdirAll(target, 0o700)
		case d.Type().IsRegular():
			return copyFile(path, target)
		}
		return nil
	})
	for _, f := range folders {
		if err == nil {
			err = durable.Sync(f)
		}
	}
	if err == nil {
		err = os.Rename(part, to)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(part))
	}
	return durable.Sync(filepath.Dir(to))
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}
