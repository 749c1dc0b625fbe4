package backup

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A pack is: packMagic, the segments one after the other, a directory with one entry for each (in its pack field: the bytes of
// the segment), the number of segments as 4 bytes little endian, packEnd. The directory serves a writer that goes on after a
// kill and has no more than the packs.
const (
	packMagic    = "RTPACK1\n"
	packEnd      = "RTPEND1\n"
	packBytes    = 16 << 20
	maxPackBytes = 1 << 30
)

// pack is one that is being filled.
type pack struct {
	body      []byte
	directory []entry
	index     uint32 // in the manifest's packs
}

func (p *pack) reset() {
	p.body = append(p.body[:0], packMagic...)
	p.directory = p.directory[:0]
}

// add appends a segment of n bytes with this sum, as it is stored.
func (p *pack) add(s sum, stored []byte, n int) entry {
	e := entry{sum: s, pack: uint32(n), off: uint32(len(p.body)), len: uint32(len(stored))}
	p.body = append(p.body, stored...)
	p.directory = append(p.directory, e)
	e.pack = p.index
	return e
}

// finish writes the directory behind the segments, and gives the whole pack.
func (p *pack) finish() []byte {
	for _, e := range p.directory {
		p.body = e.append(p.body)
	}
	p.body = binary.LittleEndian.AppendUint32(p.body, uint32(len(p.directory)))
	p.body = append(p.body, packEnd...)
	return p.body
}

// parsePack gives the directory of a pack. It does not look at the segments.
func parsePack(body []byte) ([]entry, error) {
	const trailer = 4 + len(packEnd)
	if len(body) < len(packMagic)+trailer || string(body[:len(packMagic)]) != packMagic || string(body[len(body)-len(packEnd):]) != packEnd {
		return nil, errors.New("it is no pack")
	}
	n := int64(binary.LittleEndian.Uint32(body[len(body)-trailer:]))
	start := int64(len(body)-trailer) - n*entryBytes
	if start < int64(len(packMagic)) {
		return nil, fmt.Errorf("a pack of %d bytes cannot have %d segments", len(body), n)
	}
	return parseDirectory(body[start:len(body)-trailer], start)
}

// parseDirectory reads the entries for a pack whose segments end before the given offset.
func parseDirectory(b []byte, end int64) ([]entry, error) {
	directory := make([]entry, 0, len(b)/entryBytes)
	for ; len(b) >= entryBytes; b = b[entryBytes:] {
		e := entryAt(b)
		if int64(e.off) < int64(len(packMagic)) || int64(e.off)+int64(e.len) > end || e.len == 0 || e.len > e.pack || e.pack > maxSegment {
			return nil, errors.New("a pack's directory points out of it")
		}
		directory = append(directory, e)
	}
	return directory, nil
}
