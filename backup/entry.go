package backup

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"golang.org/x/crypto/blake2b"
)

// sum is a BLAKE2b-256 (RFC 7693). It takes half the time of SHA-256 on a processor without instructions for that one, Python's
// hashlib and b2sum -l 256 have it.
type sum [blake2b.Size256]byte

func sumOf(b []byte) sum { return blake2b.Sum256(b) }

func (s sum) String() string { return hex.EncodeToString(s[:]) }

// MarshalText writes it in hex.
func (s sum) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, s[:]), nil }

// UnmarshalText reads it from hex.
func (s *sum) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(s)) {
		return errors.New("a sum has 64 hex digits")
	}
	_, err := hex.Decode(s[:], text)
	return err
}

// entry tells of one segment in which pack it is. Its zero value is a segment of zeros, which is in none.
type entry struct {
	sum  sum    // of the segment
	pack uint32 // index in the manifest's packs; in a pack's directory: how many bytes the segment has
	off  uint32 // where it is in the pack, in bytes
	len  uint32 // how many bytes it has there: compressed by zstd if fewer than the segment, else as it is
}

// entryBytes is the size of an entry in a table, or in a pack's directory: sum, pack, off, len, little endian.
const entryBytes = 32 + 3*4

func (e entry) hole() bool { return e.len == 0 }

func (e entry) append(b []byte) []byte {
	b = append(b, e.sum[:]...)
	b = binary.LittleEndian.AppendUint32(b, e.pack)
	b = binary.LittleEndian.AppendUint32(b, e.off)
	return binary.LittleEndian.AppendUint32(b, e.len)
}

// entryAt reads the first entry of b, which must be long enough.
func entryAt(b []byte) (e entry) {
	copy(e.sum[:], b)
	e.pack = binary.LittleEndian.Uint32(b[32:])
	e.off = binary.LittleEndian.Uint32(b[36:])
	e.len = binary.LittleEndian.Uint32(b[40:])
	return e
}

// check says what is wrong with an entry for a segment of n bytes, in a manifest with so many packs.
func (e entry) check(n int64, packs int) error {
	switch {
	case e.hole() && e != (entry{}):
		return errors.New("a segment of zeros that is in a pack")
	case !e.hole() && int64(e.pack) >= int64(packs):
		return fmt.Errorf("a segment in pack %d of %d", e.pack, packs)
	case int64(e.len) > n:
		return fmt.Errorf("a segment of %d bytes that has %d in its pack", n, e.len)
	}
	return nil
}
