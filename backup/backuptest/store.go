// Package backuptest has stores for tests of what uses package backup: one in memory that fails on demand, and a plain folder.
package backuptest

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"roundtable/backup"
)

// ErrKilled is what a Memory says after its last operation.
var ErrKilled = errors.New("the store is gone")

// Memory is a store in memory. The zero value is empty and works. It is safe for concurrent use.
type Memory struct {
	mu      sync.Mutex
	objects map[string]object
	now     time.Time
	left    int  // operations until it is gone; negative: it stays
	killing bool // left means something
	lost    bool // the operation that comes last is done, but answers with an error
	hook    func(operation, name string) error
	counts  map[string]int
}

type object struct {
	body     []byte
	modified time.Time
}

// KillAfter lets n more operations through; each after them fails with ErrKilled. With lost the first of those is done and its
// answer is lost. A negative n lets all through again.
func (m *Memory) KillAfter(n int, lost bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left, m.killing, m.lost = n, n >= 0, lost
}

// Hook is called before each operation, which is one of put, get, list and delete; its error is the operation's. It may block.
func (m *Memory) Hook(hook func(operation, name string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = hook
}

// SetNow sets what is the time when something is written from now on; the zero Time is that of the machine.
func (m *Memory) SetNow(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = now
}

// Counts gives how many operations there were of each kind.
func (m *Memory) Counts() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.counts)
}

// Names gives the names of all objects, sorted.
func (m *Memory) Names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.objects))
}

// Body gives an object's bytes, nil if there is none.
func (m *Memory) Body(name string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.objects[name].body)
}

// Set replaces an object, or with nil deletes it, whatever the rules.
func (m *Memory) Set(name string, body []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if body == nil {
		delete(m.objects, name)
		return
	}
	m.set(name, body)
}

// Clone gives a store with the same objects, and no faults.
func (m *Memory) Clone() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Memory{objects: maps.Clone(m.objects), now: m.now}
}

func (m *Memory) set(name string, body []byte) {
	if m.objects == nil {
		m.objects = map[string]object{}
	}
	at := m.now
	if at.IsZero() {
		at = time.Now()
	}
	m.objects[name] = object{slices.Clone(body), at}
}

// begin counts an operation; done says whether its effect happens.
func (m *Memory) begin(ctx context.Context, operation, name string) (done bool, err error) {
	m.mu.Lock()
	hook := m.hook
	m.mu.Unlock()
	if hook != nil {
		if err := hook(operation, name); err != nil {
			return false, err
		}
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.counts == nil {
		m.counts = map[string]int{}
	}
	m.counts[operation]++
	if !m.killing {
		return true, nil
	}
	m.left--
	switch {
	case m.left >= 0:
		return true, nil
	case m.left == -1 && m.lost:
		return true, ErrKilled
	}
	return false, ErrKilled
}

// Put writes an object: backup.ErrExists.
func (m *Memory) Put(ctx context.Context, name string, body []byte) error {
	done, err := m.begin(ctx, "put", name)
	if !done {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[name]; ok {
		return errors.Join(backup.ErrExists, err)
	}
	m.set(name, body)
	return err
}

// Get reads an object: backup.ErrNotFound.
func (m *Memory) Get(ctx context.Context, name string) ([]byte, error) {
	if _, err := m.begin(ctx, "get", name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[name]
	if !ok {
		return nil, backup.ErrNotFound
	}
	return slices.Clone(o.body), nil
}

// List shows the objects that are there when it begins.
func (m *Memory) List(ctx context.Context, prefix string) iter.Seq2[backup.Object, error] {
	return func(yield func(backup.Object, error) bool) {
		if _, err := m.begin(ctx, "list", prefix); err != nil {
			yield(backup.Object{}, err)
			return
		}
		m.mu.Lock()
		var all []backup.Object
		for name, o := range m.objects {
			if strings.HasPrefix(name, prefix) {
				all = append(all, backup.Object{Name: name, Size: int64(len(o.body)), Modified: o.modified})
			}
		}
		m.mu.Unlock()
		for _, o := range all {
			if !yield(o, nil) {
				return
			}
		}
	}
}

// Delete removes an object.
func (m *Memory) Delete(ctx context.Context, name string) error {
	done, err := m.begin(ctx, "delete", name)
	if !done {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, name)
	return err
}

// Folder is a store in a folder of files with the objects' names. It does not make them last. It is safe for concurrent use.
type Folder string

// Put writes an object: backup.ErrExists.
func (f Folder) Put(_ context.Context, name string, body []byte) error {
	path := filepath.Join(string(f), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	o, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return backup.ErrExists
	}
	if err != nil {
		return err
	}
	_, err = o.Write(body)
	return errors.Join(err, o.Close())
}

// Get reads an object: backup.ErrNotFound.
func (f Folder) Get(_ context.Context, name string) ([]byte, error) {
	body, err := os.ReadFile(filepath.Join(string(f), filepath.FromSlash(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, backup.ErrNotFound
	}
	return body, err
}

// List shows the objects whose names begin with the prefix.
func (f Folder) List(_ context.Context, prefix string) iter.Seq2[backup.Object, error] {
	return func(yield func(backup.Object, error) bool) {
		stopped := errors.New("stopped")
		err := filepath.WalkDir(string(f), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // deleted meanwhile, or nothing was ever written
			}
			if err != nil || d.IsDir() {
				return err
			}
			name, err := filepath.Rel(string(f), path)
			if err != nil || !strings.HasPrefix(filepath.ToSlash(name), prefix) {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if !yield(backup.Object{Name: filepath.ToSlash(name), Size: info.Size(), Modified: info.ModTime()}, nil) {
				return stopped
			}
			return nil
		})
		if err != nil && !errors.Is(err, stopped) {
			yield(backup.Object{}, err)
		}
	}
}

// Delete removes an object.
func (f Folder) Delete(_ context.Context, name string) error {
	err := os.Remove(filepath.Join(string(f), filepath.FromSlash(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
