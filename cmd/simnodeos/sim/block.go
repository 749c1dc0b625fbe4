// Package sim is the stand-in for nodeos behind cmd/simnodeos: a chain without contracts that shows a manager the face of
// nodeos v1.2.2. It owns everything the double does and is used by nothing in the product: only cmd/simnodeos, the tests and the
// drills run it, as a process of its own. Read node.go first (the process and its main loop), then producer.go (when blocks are
// started, signed and given up), forkdb.go, peer.go. The facts are from the recordings of a real nodeos and from its source.
package sim

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"roundtable/chain"
)

// Hash is a SHA-256 value: a block id, a transaction id or a digest. As text it is 64 hex digits.
type Hash [32]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Short is what nodeos logs of a block id: hex digits 8 to 23.
func (h Hash) Short() string { return hex.EncodeToString(h[4:12]) }

// MarshalText gives 64 hex digits.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads 64 hex digits.
func (h *Hash) UnmarshalText(b []byte) error {
	if len(b) != 64 {
		return fmt.Errorf("hash of %d characters", len(b))
	}
	_, err := hex.Decode(h[:], b)
	return err
}

// less is fc's sha256_less: four 64-bit words in machine order. It breaks ties between equally good fork heads.
func (h Hash) less(o Hash) bool {
	for i := 0; i < 32; i += 8 {
		a, b := binary.LittleEndian.Uint64(h[i:]), binary.LittleEndian.Uint64(o[i:])
		if a != b {
			return a < b
		}
	}
	return false
}

// Header is a block header, packed as the chain packs it. The transaction ids stand beside it in Block.
type Header struct {
	Slot            uint32 `json:"slot"`
	Producer        string `json:"producer"`
	Confirmed       uint16 `json:"confirmed"`
	Previous        Hash   `json:"previous"`
	TrxRoot         Hash   `json:"transaction_mroot"`
	ActionRoot      Hash   `json:"action_mroot"`
	ScheduleVersion uint32 `json:"schedule_version"`
}

// Num is the block's height: one more than the previous block's, whose id begins with it.
func (h *Header) Num() uint32 { return binary.BigEndian.Uint32(h.Previous[:4]) + 1 }

func (h *Header) pack() []byte {
	b := make([]byte, 0, 128)
	b = binary.LittleEndian.AppendUint32(b, h.Slot)
	b = binary.LittleEndian.AppendUint64(b, nameValue(h.Producer))
	b = binary.LittleEndian.AppendUint16(b, h.Confirmed)
	b = append(b, h.Previous[:]...)
	b = append(b, h.TrxRoot[:]...)
	b = append(b, h.ActionRoot[:]...)
	b = binary.LittleEndian.AppendUint32(b, h.ScheduleVersion)
	return append(b, 0, 0) // no new producers, no extensions
}

// ID is the SHA-256 of the packed header with the height in its first four bytes.
func (h *Header) ID() Hash {
	id := Hash(sha256.Sum256(h.pack()))
	binary.BigEndian.PutUint32(id[:4], h.Num())
	return id
}

// Digest is what the producer signs: the hash of the header in legacy consensus (nothing of the block can be told from
// it), the block id under Savanna (so its first four bytes are the height).
func (h *Header) Digest(savanna bool) Hash {
	if savanna {
		return h.ID()
	}
	return Hash(sha256.Sum256(h.pack()))
}

// Block is a header with its signatures and made-up transactions. It is immutable once signed.
type Block struct {
	Header
	Sigs []string `json:"signatures"`
	Trxs []Hash   `json:"transactions"`
	Fill []byte   `json:"fill,omitempty"` // makes it large (--sim-block-bytes)

	id Hash // cache of Header.ID
}

// ID is the block id, computed once.
func (b *Block) ID() Hash {
	if b.id == (Hash{}) {
		b.id = b.Header.ID()
	}
	return b.id
}

// decodeBlock reads a block and checks that its transactions are the ones its header names.
func decodeBlock(data []byte) (*Block, error) {
	b := &Block{}
	if err := json.Unmarshal(data, b); err != nil {
		return nil, fmt.Errorf("block: %w", err)
	}
	if trxRoot(b.Trxs, b.Fill) != b.TrxRoot {
		return nil, fmt.Errorf("block %s: transaction root does not match", b.ID())
	}
	b.ID()
	return b, nil
}

func trxRoot(trxs []Hash, fill []byte) Hash {
	if len(trxs) == 0 && len(fill) == 0 {
		return Hash{}
	}
	h := sha256.New()
	for i := range trxs {
		h.Write(trxs[i][:])
	}
	h.Write(fill)
	return Hash(h.Sum(nil))
}

func actionRoot(previous Hash, slot uint32) Hash {
	return Hash(sha256.Sum256(binary.LittleEndian.AppendUint32(previous[:], slot)))
}

// nameValue is an account name as the chain's 64-bit number; characters that are not allowed count as a dot.
func nameValue(s string) uint64 {
	const alphabet = ".12345abcdefghijklmnopqrstuvwxyz"
	var v uint64
	for i := 0; i < 13; i++ {
		var c uint64
		if i < len(s) {
			if p := strings.IndexByte(alphabet, s[i]); p > 0 {
				c = uint64(p)
			}
		}
		if i < 12 {
			v |= (c & 0x1f) << (64 - 5*(i+1))
		} else {
			v |= c & 0x0f
		}
	}
	return v
}

func validName(s string) bool {
	return len(s) > 0 && len(s) <= 13 && strings.Trim(s, ".12345abcdefghijklmnopqrstuvwxyz") == ""
}

// slotTime is a slot's timestamp as the chain writes it: 2026-11-21T00:33:02.500.
func slotTime(slot uint32) string { return formatMillis(chain.Slot(slot).UnixMilli()) }
