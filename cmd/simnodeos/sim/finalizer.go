package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// safetyFile is finalizers/safety.dat of a node with a BLS key (option sim-finalizer): 265 bytes, made at the first vote and written in place
// at each further one, as recorded (j-savanna). It holds the last block voted for; nobody votes here. It is never in a backup, and
// no restore touches it: what a test finds in it shows that.
type safetyFile struct{ path string }

const (
	safetyMagic = "SIMSAFE1"
	safetySize  = 265
)

func (n *Node) openSafety() (*safetyFile, error) {
	if !n.opts.flag("sim-finalizer") {
		return nil, nil
	}
	s := &safetyFile{filepath.Join(n.opts.path(n.opts.dataDir, n.opts.get("finalizers-dir")), "safety.dat")}
	data, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		n.say(site{"finalizer.cpp", 320, "load_finalizer_safet"}, "finalizer safety persistence file %s does not exist (which is expected on the first use of a BLS finalizer key)", s.path)
		return s, nil
	}
	if err != nil || len(data) < safetySize || string(data[:8]) != safetyMagic {
		context := fmt.Sprintf(`{"p":%q}`, s.path)
		return nil, newError(3260001, "finalizer_safety_exception", "Finalizer safety file exception", "bad magic number in finalizer safety persistence file: "+s.path,
			context, site{"finalizer.cpp", 339, "load_finalizer_safety_info"}).
			with("corrupted finalizer safety persistence file "+s.path, context, site{"finalizer.cpp", 375, "load_finalizer_safety_info"}).
			with("", "", site{"producer_plugin.cpp", 1680, "plugin_startup"})
	}
	return s, nil
}

// vote writes the file. On the main thread.
func (s *safetyFile) vote(n *node) error {
	if s == nil {
		return nil
	}
	b := binary.LittleEndian.AppendUint32([]byte(safetyMagic), n.block.Slot)
	b = append(binary.LittleEndian.AppendUint32(b, n.num), n.id[:]...)
	b = append(b, make([]byte, safetySize-len(b))...)
	if err := os.MkdirAll(filepath.Dir(s.path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	return errors.Join(err, f.Close())
}
