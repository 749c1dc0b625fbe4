package gate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"roundtable/node/k1"
)

// Signer holds or reaches keys. The gate asks it only for slots that it has recorded, checks each answer, and never
// asks twice at once.
type Signer interface {
	// Keys are the public keys it can sign with, EOS... or PUB_K1_....
	Keys() []string
	// Sign signs a digest with one of Keys and returns SIG_K1_.... It ends with ctx.
	Sign(ctx context.Context, digest [32]byte, key string) (string, error)
}

// Errors of the signers.
var (
	ErrKeyFile    = errors.New("key file")
	ErrUnknownKey = errors.New("the signer does not hold this key")
)

// FileSigner holds the private keys of a key file in memory.
type FileSigner struct {
	names []string
	keys  map[string]*k1.PrivateKey
}

// NewFileSigner reads a key file: one private key per line (5... or PVT_K1_...), empty lines and # comments allowed. The
// file must be ours and closed to group and others.
func NewFileSigner(path string) (*FileSigner, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat() // of what was opened, not of what the path means by now
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	if err := checkKeyFile(path, info); err != nil {
		return nil, err
	}
	text := make([]byte, info.Size())
	defer clear(text)
	if _, err := io.ReadFull(f, text); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	s := &FileSigner{keys: map[string]*k1.PrivateKey{}}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		key, err := k1.ParsePrivate(line)
		if err != nil {
			return nil, fmt.Errorf("%w %s, line %d: %w", ErrKeyFile, path, number, err)
		}
		name := key.Public().String()
		if s.keys[name] == nil {
			s.names = append(s.names, name)
		}
		s.keys[name] = key
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrKeyFile, path, err)
	}
	if len(s.names) == 0 {
		return nil, fmt.Errorf("%w %s: no key in it; put one private key (5... or PVT_K1_...) on a line", ErrKeyFile, path)
	}
	return s, nil
}

func checkKeyFile(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() || info.Size() > 64<<10 {
		return fmt.Errorf("%w %s: not a small regular file", ErrKeyFile, path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%w %s: mode %04o lets others read or change it; run: chmod 600 %s", ErrKeyFile, path, mode, path)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%w %s: it belongs to user %d, not to this process' user %d; run: chown %d %s", ErrKeyFile, path, st.Uid, os.Geteuid(), os.Geteuid(), path)
	}
	return nil
}

// Keys are the public keys, EOS..., in the file's order.
func (s *FileSigner) Keys() []string { return append([]string(nil), s.names...) }

// Sign signs at once, some 0.1 ms; ctx is not needed.
func (s *FileSigner) Sign(_ context.Context, digest [32]byte, key string) (string, error) {
	k := s.keys[key]
	if k == nil {
		return "", fmt.Errorf("%w: %s", ErrUnknownKey, key)
	}
	return k.Sign(digest).String(), nil
}
