package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// node is a data folder as nodeos has one: blocks that are appended to, a sparse state that is rewritten in place, small files.
type node struct {
	dir    string
	random *rand.ChaCha8
	log    int64   // bytes of blocks
	size   int64   // bytes of the state with its holes
	data   []int64 // where its pieces are, of a MiB each
}

const (
	blockLog  = "blocks/blocks.log"
	stateFile = "state/shared_memory.bin"
	mebi      = 1 << 20
)

// layOut makes one.
func layOut(dir string, mib int) (*node, error) {
	n := &node{dir: dir, random: rand.NewChaCha8([32]byte{1}), size: int64(mib) / 2 * mebi}
	for _, sub := range []string{"blocks", "state", "state-history"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	for range mib {
		if err := n.appendBlocks(1, nil); err != nil {
			return nil, err
		}
	}
	state, err := os.Create(filepath.Join(dir, stateFile))
	if err != nil {
		return nil, err
	}
	defer state.Close()
	if err := state.Truncate(n.size); err != nil {
		return nil, err
	}
	for at := int64(0); at < n.size; at += 16 * mebi {
		n.data = append(n.data, at)
		if _, err := state.WriteAt(n.text(mebi), at); err != nil {
			return nil, err
		}
	}
	left, small := mib/2*mebi, rand.New(rand.NewPCG(1, 2))
	for i := 0; left > 0; i++ { // 64 KiB each, more or less
		size := min(left, 1024+small.IntN(126<<10))
		left -= size
		path := filepath.Join(dir, "state-history", fmt.Sprintf("%02d", i%64), fmt.Sprintf("%06d.bin", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, n.text(size), 0o600); err != nil {
			return nil, err
		}
	}
	n.settle()
	return n, nil
}

// text looks like what is in blocks: signatures and hashes, which do not compress, among names and numbers, which do. zstd -1 takes
// about 45 % away.
func (n *node) text(size int) []byte {
	b := make([]byte, 0, size+300)
	var random [128]byte
	for len(b) < size {
		_, _ = n.random.Read(random[:])
		b = append(b, random[:76]...) // a signature, and some of a hash
		r := binary.LittleEndian.Uint64(random[105:])
		for range 3 { // account, action, permission: of a few thousand names
			name := [8]byte{0, 0, 0xa8, 0xed, 0x32}
			binary.BigEndian.PutUint16(name[:], uint16(r%4000))
			b = append(b, name[:]...)
			r /= 4000
		}
		b = append(b, 1, 0, 0, 0, 0, 0xa6, 0x82, 0x34, 3, 0xea, 0x30, 0x55, 0, 0, 0, 0x57, 0x2d, 0x3c, 0xcd, 0xcd)
		b = binary.LittleEndian.AppendUint64(b, uint64(random[120])<<8|uint64(random[121]))
		b = append(b, 4, 'E', 'O', 'S', 0, 0, 0, 0, 24, 't', 'r', 'a', 'n', 's', 'f', 'e', 'r', ' ', 'o', 'f', ' ', 't', 'o', 'k', 'e', 'n', 's')
	}
	return b[:size]
}

// appendBlocks appends so many MiB, and to news, if there is any, what they are.
func (n *node) appendBlocks(mib int, news *bytes.Buffer) error {
	f, err := os.OpenFile(filepath.Join(n.dir, blockLog), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for range mib {
		text := n.text(mebi)
		if news != nil {
			news.Write(text)
		}
		if _, err := f.Write(text); err != nil {
			return err
		}
		n.log += mebi
	}
	return f.Close()
}

// change appends 20 MiB of blocks and rewrites 1 MiB of the state: at one place, or in 256 pages of 4 KiB each. It returns what is new.
func (n *node) change(scattered bool) ([]byte, error) {
	var news bytes.Buffer
	if err := n.appendBlocks(20, &news); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(n.dir, stateFile), os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	page, places := mebi, []int64{n.data[len(n.data)/2]}
	if scattered {
		page, places = 4096, nil
		for i := range 256 {
			piece := n.data[i*len(n.data)/256]
			places = append(places, piece+int64((i*37+11)%256)*4096)
		}
	}
	for _, at := range places {
		text := n.text(page)
		news.Write(text)
		if _, err := f.WriteAt(text, at); err != nil {
			return nil, err
		}
	}
	return news.Bytes(), f.Close()
}

// settle waits until the disk has everything, and until what was just written cannot be taken for older (some tools look at seconds).
func (n *node) settle() {
	unix.Sync()
	time.Sleep(1100 * time.Millisecond)
}

// warm reads all of it, so that nobody is the first to.
func (n *node) warm() error {
	return filepath.WalkDir(n.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(io.Discard, f)
		return err
	})
}

// compare checks every file below a folder against the original, and gives what the state takes on disk, in bytes.
func (n *node) compare(into string) (state int64, err error) {
	files := 0
	err = filepath.WalkDir(n.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		rel, err := filepath.Rel(n.dir, path)
		if err != nil {
			return err
		}
		if same, err := equal(path, filepath.Join(into, rel)); err != nil || !same {
			return errors.Join(err, fmt.Errorf("%s is another one after the restore", rel))
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if files < 10 {
		return 0, errors.New("nothing was compared")
	}
	return allocated(filepath.Join(into, stateFile))
}

func equal(path, other string) (bool, error) {
	a, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := os.Open(other)
	if err != nil {
		return false, err
	}
	defer b.Close()
	var x, y [256 << 10]byte
	for {
		n, err := io.ReadFull(a, x[:])
		m, errOther := io.ReadFull(b, y[:])
		if !bytes.Equal(x[:n], y[:m]) {
			return false, nil
		}
		if err != nil || errOther != nil {
			end := func(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
			return end(err) && end(errOther), nil
		}
	}
}

// allocated is what a file takes on disk, in bytes.
func allocated(path string) (int64, error) {
	unix.Sync() // blocks are given late
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	return s.Blocks * 512, nil
}

// apparent is the size of all files below a folder, in bytes.
func apparent(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		total += info.Size()
		return nil
	})
	return total, err
}
