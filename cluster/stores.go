package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bberrors "go.etcd.io/bbolt/errors"
)

// Stores are where raft keeps what must survive a restart. They are a seam for tests and benchmarks: a wrapper can make
// the disk stall, memory stores work inside testing/synctest.
type Stores struct {
	Log       raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
	Close     func() error // may be nil
}

// MemoryStores keep everything in memory: for tests. They outlive a Close, so that a member can be opened on them again.
func MemoryStores() Stores {
	s := raft.NewInmemStore()
	return Stores{Log: s, Stable: s, Snapshots: raft.NewInmemSnapshotStore()}
}

// retainSnapshots is how many raft snapshots are kept: a second one, should the newest be damaged.
const retainSnapshots = 2

// raftFile is the log, with term and vote, in the raft folder.
const raftFile = "raft.db"

// fileStores opens (or creates) the files in dir: raft.db and snapshots/. Free pages are kept in a map and not written
// with each commit: one write less per entry, and the file's size stays bounded by the trailing log. noSync is for the
// benchmark of the folder's size: the files look the same, and no disk is waited for.
func fileStores(dir string, log hclog.Logger, noSync bool) (Stores, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Stores{}, fmt.Errorf("cluster: raft folder: %w", err)
	}
	db, err := raftboltdb.New(raftboltdb.Options{
		Path: filepath.Join(dir, raftFile), NoSync: noSync,
		BoltOptions: &bbolt.Options{Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType},
	})
	if errors.Is(err, bberrors.ErrTimeout) {
		return Stores{}, &ConfigError{fmt.Sprintf("%s is in use", filepath.Join(dir, raftFile)), "another manager runs on this folder: stop it, or use another home"}
	}
	if err != nil {
		return Stores{}, fmt.Errorf("cluster: open the raft log: %w", err)
	}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, retainSnapshots, log)
	if err != nil {
		return Stores{}, errors.Join(fmt.Errorf("cluster: open the raft snapshots: %w", err), db.Close())
	}
	return Stores{Log: db, Stable: db, Snapshots: snaps, Close: db.Close}, nil
}

// ioWatch knows whether a write of the raft stores is under way, and since when.
type ioWatch struct {
	began atomic.Int64  // Unix ns of the write under way, 0 for none: raft's main loop writes one at a time
	done  atomic.Uint64 // writes that came to their end
	now   func() time.Time
	hold  func() // nil, or comes before each write
}

func (w *ioWatch) start() {
	w.began.Store(w.now().UnixNano())
	if w.hold != nil {
		w.hold()
	}
}

func (w *ioWatch) end() {
	w.began.Store(0)
	w.done.Add(1)
}

// busy is how long the write under way has taken; 0 where there is none.
func (w *ioWatch) busy() time.Duration {
	began := w.began.Load()
	if began == 0 {
		return 0
	}
	return w.now().Sub(time.Unix(0, began))
}

// watchedLog times the writes to the log.
type watchedLog struct {
	raft.LogStore
	watch *ioWatch
}

func (s watchedLog) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

func (s watchedLog) StoreLogs(logs []*raft.Log) error {
	s.watch.start()
	defer s.watch.end()
	return s.LogStore.StoreLogs(logs)
}

// watchedStable times the writes of term and vote.
type watchedStable struct {
	raft.StableStore
	watch *ioWatch
}

func (s watchedStable) Set(key, val []byte) error {
	s.watch.start()
	defer s.watch.end()
	return s.StableStore.Set(key, val)
}

func (s watchedStable) SetUint64(key []byte, val uint64) error {
	s.watch.start()
	defer s.watch.end()
	return s.StableStore.SetUint64(key, val)
}

// folderSize sums the files under dir; 0 where there is no folder.
func folderSize(dir string) int64 {
	if dir == "" {
		return 0
	}
	var n int64
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil //nolint:nilerr // a snapshot that is just being renamed away is no trouble
		}
		if info, err := d.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	return n
}

// fileCanary writes and syncs a small file.
func fileCanary(path string) func() error {
	return func() error {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.WriteString(f, "roundtable")
		if err == nil {
			err = f.Sync()
		}
		return errors.Join(err, f.Close())
	}
}
