package manager

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"roundtable/backup"
	"roundtable/cmd/roundtable/config"
	"roundtable/durable"
	"roundtable/fsm"
	"roundtable/logkey"
	"roundtable/node"
)

// bootFolder is where in sideFolder an archive or a script puts what the node is to begin with; a backup lies in a folder with its id behind that.
const bootFolder = "bootstrap"

// Bounds of the wait before a bootstrap is tried again.
const (
	bootAgain = 2 * time.Second
	bootMost  = 5 * time.Minute
)

// booted is HOME/backup/bootstrap.json: which named ones were put in place, and the node was up with.
type booted struct {
	Applied []string `json:"applied"`
}

func (v *vault) bootPath() string { return v.dir("bootstrap.json") }

func (v *vault) readBooted() (b booted, err error) {
	text, err := os.ReadFile(v.bootPath())
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &b)
	}
	if err != nil {
		return b, fmt.Errorf("manager: %s: %w", v.bootPath(), err)
	}
	return b, nil
}

// bootApplied notes that the node was up with something; it is not put in place again.
func (v *vault) bootApplied(label string) error {
	b, err := v.readBooted()
	if err != nil || slices.Contains(b.Applied, label) {
		return err
	}
	b.Applied = append(b.Applied, label)
	text, _ := json.MarshalIndent(b, "", "  ") // it cannot fail
	if err := durable.Write(v.bootPath(), append(text, '\n')); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	v.step("note the bootstrap")
	return nil
}

// named is what the configuration names to begin with, as it is remembered; "" for nothing.
func named(b config.Bootstrap) string {
	switch {
	case b.Backup != "":
		return "backup " + b.Backup
	case b.Snapshot != "":
		return "chain snapshot " + b.Snapshot
	}
	return ""
}

// wantsBootstrap reports whether the node is not to be started before something is put in place, and has it wait then. It is called before
// the node's supervisor is there.
func (v *vault) wantsBootstrap() bool {
	c := v.cfg()
	b := c.Bootstrap
	if b == (config.Bootstrap{}) {
		return false
	}
	s, unsettled := v.unsettled()
	known, err := v.readBooted()
	label := named(b)
	done := slices.Contains(known.Applied, label) || unsettled && s.Operation == 0 && s.Backup == label
	if err != nil || label != "" && !done {
		v.wait("what it is to begin with is not there yet")
		return true
	}
	if holds, err := node.LayoutOf(c.Node.ConfigDir, c.Node.DataDir, c.Node.Args).Holds(); unsettled || err == nil && !holds.Empty() {
		v.log.Info("the node begins with the data that is there")
		return false
	}
	v.wait("what it is to begin with is not there yet")
	return true
}

// bootstrap puts in place what the node is to begin with, and has it started. It tries until that works: the configuration may be put right
// meanwhile, or the network come back. The node is not started with anything else.
func (v *vault) bootstrap(ctx context.Context) {
	said := ""
	for pause := bootAgain; ; pause = min(2*pause, bootMost) {
		err := v.boot(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			v.wait("")
			v.home.turning.Lock()
			v.home.launch()
			v.home.turning.Unlock()
			return
		}
		text := strings.TrimPrefix(err.Error(), "manager: ")
		v.wait("what it is to begin with could not be put in place: %s", text)
		v.log.Error("the node is not started: what it is to begin with could not be put in place", logkey.Err, err, "again", pause)
		if text != said {
			said = text
			v.home.alarm("bootstrap", v.cfg().Manager.ID, "the node is not started: "+text)
		}
		again := time.NewTimer(pause)
		select {
		case <-again.C:
		case <-ctx.Done():
		}
		if again.Stop(); ctx.Err() != nil {
			return
		}
	}
}

// boot does the first that applies.
func (v *vault) boot(ctx context.Context) error {
	v.home.turning.Lock()
	defer v.home.turning.Unlock()
	b := v.cfg().Bootstrap
	label := named(b)
	known, err := v.readBooted()
	if err != nil {
		return err
	}
	begin := func(why, side, snapshot, genesis string) error {
		v.log.Info("the node begins anew", "from", label, logkey.Reason, why)
		return v.swapData(0, label, side, snapshot, genesis)
	}
	if s, ok := v.unsettled(); ok && s.Operation == 0 && s.Backup != label { // the configuration names another one now
		end := v.putBack
		if s.Up {
			end = v.settle
		}
		if err := end(); err != nil {
			return err
		}
	}
	if label != "" && !slices.Contains(known.Applied, label) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if file := b.Snapshot; filepath.IsAbs(file) && b.Backup == "" {
			if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
				return fmt.Errorf("manager: bootstrap.snapshot: there is no file %s (hint: name a chain snapshot, or the id of a backup)", file)
			}
			return begin("bootstrap.snapshot names it", "", file, "")
		}
		side, snapshot, err := v.bootBackup(ctx, cmp.Or(b.Backup, b.Snapshot), b.Backup == "")
		if err != nil {
			return err
		}
		return begin("the configuration names it", side, snapshot, "")
	}
	holds, err := v.home.supervisor.Layout().Holds()
	if err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	if !holds.Empty() {
		v.log.Info("the node begins with the data that is there")
		return nil
	}
	if b.Latest {
		id, err := v.latest(ctx)
		if err != nil {
			return err
		}
		if id != "" {
			side, snapshot, err := v.bootBackup(ctx, id, true)
			if err != nil {
				return err
			}
			label = "chain snapshot " + id
			return begin("it is the latest one of the chain, and there is no data", side, snapshot, "")
		}
		v.log.Info("there is no chain snapshot in the repository yet", "repository", v.cfg().Backup.Repository)
	}
	side := v.data(sideFolder, bootFolder)
	switch {
	case b.Archive != "":
		label = "archive " + maskURL(b.Archive)
		if side, err = v.unpack(ctx, b, side); err != nil {
			return err
		}
		return begin("bootstrap.archive, and there is no data", side, "", "")
	case b.Script != "":
		label = "script " + b.Script
		if side, err = v.script(ctx, b.Script, side); err != nil {
			return err
		}
		return begin("bootstrap.script, and there is no data", side, "", "")
	case b.Genesis != "":
		label = "genesis " + b.Genesis
		if _, err := os.Stat(b.Genesis); err != nil {
			return fmt.Errorf("manager: bootstrap.genesis: %w", err)
		}
		return begin("bootstrap.genesis, and there is nothing else", "", "", b.Genesis)
	}
	v.log.Info("the node begins without data: nothing of what the configuration says applies")
	return nil
}

// chain is the cluster's chain, "" where it has none yet. It is an error that the cluster's state is not known.
func (v *vault) chain() (string, error) {
	s, ok := v.state()
	if !ok {
		return "", errors.New("manager: of which chain the cluster is is not known yet (hint: a majority of the members must be reachable)")
	}
	return s.Cluster.ChainID, nil
}

// bootBackup fetches a backup from the default repository. A chain is asked for only where the cluster's is known.
func (v *vault) bootBackup(ctx context.Context, id string, snapshot bool) (side, file string, err error) {
	chain, _ := v.chain()
	side = v.data(sideFolder, bootFolder+"-"+id) // Forget removes what operations fetched
	info, err := v.fetch(ctx, v.cfg().Backup.Repository, id, chain, side, func(percent int, text string) {
		v.log.Debug("fetching what the node is to begin with", "percent", percent, "text", text)
	})
	if err != nil {
		return "", "", err
	}
	if snapshot && info.Meta.Kind != fsm.CopiesSnapshot {
		return "", "", fmt.Errorf("manager: backup %s is of the node's data and no chain snapshot (hint: name it in bootstrap.backup)", id)
	}
	file, err = fetchedSnapshot(side, info.Meta.Kind)
	return side, file, err
}

// everDone reports whether the catalogue holds backups of a repository that were done once: it cannot be empty.
func everDone(s *fsm.State, repository string) bool {
	for _, b := range s.Backups {
		if b.Repository == repository && (b.State == fsm.BackupDone || b.State == fsm.BackupDamaged) {
			return true
		}
	}
	return false
}

// latest finds the newest chain snapshot of the cluster's chain; "" is none.
func (v *vault) latest(ctx context.Context) (string, error) {
	chain, err := v.chain()
	if err != nil {
		return "", err
	}
	repository := v.cfg().Backup.Repository
	s, _ := v.state()
	all, _, err := v.list(ctx, repository, everDone(s, repository), nil)
	if err != nil {
		return "", err
	}
	all = slices.DeleteFunc(all, func(i backup.Info) bool {
		return i.Meta.Kind != fsm.CopiesSnapshot || chain != "" && i.Meta.ChainID != chain
	})
	if len(all) == 0 {
		return "", nil
	}
	for _, i := range all {
		if i.Meta.ChainID != all[0].Meta.ChainID {
			return "", fmt.Errorf("manager: there are chain snapshots of more than one chain in repository %q, and the cluster has none yet (hint: name one in bootstrap.snapshot)", repository)
		}
	}
	return slices.MaxFunc(all, func(a, b backup.Info) int {
		return cmp.Or(cmp.Compare(a.Meta.Head, b.Meta.Head), cmp.Compare(a.Meta.Created, b.Meta.Created))
	}).ID, nil
}

// script has an operator's executable fill a folder.
func (v *vault) script(ctx context.Context, script, side string) (string, error) {
	if err := errors.Join(os.RemoveAll(side), os.MkdirAll(side, 0o755)); err != nil { // nodeos' own folders have this mode
		return "", fmt.Errorf("manager: %w", err)
	}
	c := v.cfg()
	chain, _ := v.chain()
	ctx, cancel := context.WithTimeout(ctx, c.Backup.StepLimit.D())
	defer cancel()
	lines, err := node.RunHook(ctx, script, nil, []string{
		"ROUNDTABLE_FOLDER=" + side, "ROUNDTABLE_MEMBER=" + c.Manager.ID, "ROUNDTABLE_HOME=" + c.Manager.Home, "ROUNDTABLE_DATA=" + c.Node.DataDir,
		"ROUNDTABLE_CHAIN_ID=" + chain,
	})
	if err != nil {
		return "", fmt.Errorf("manager: bootstrap.script: %w", err)
	}
	v.log.Info("bootstrap.script has run", "script", script, "said", strings.Join(lines, " | "))
	dir, err := rootOf(side)
	if err == nil {
		err = v.lasting(dir)
	}
	return dir, err
}

// rootOf is the folder with a chain in what was unpacked: it, or the only folder in it.
func rootOf(side string) (string, error) {
	for _, dir := range append([]string{side}, inIt(side)...) {
		c, err := node.Holds(dir)
		if err != nil {
			return "", fmt.Errorf("manager: %w", err)
		}
		if !c.Empty() {
			return dir, nil
		}
	}
	return "", errors.New("manager: there is no chain in it (hint: it must have the folder blocks, or state, at its top)")
}

func inIt(dir string) (list []string) {
	for _, name := range names(dir) {
		list = append(list, filepath.Join(dir, name))
	}
	if len(list) != 1 {
		return nil
	}
	return list
}
