package sim

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// The double's own p2p protocol, which is not nodeos': each message is four bytes of length (little endian, of what
// follows), one byte of kind, and JSON. Strings of a handshake are printed as they come, as nodeos does.
const (
	msgHandshake byte = 1
	msgGoAway    byte = 2
	msgRequest   byte = 3
	msgBlock     byte = 4
	msgEnd       byte = 5 // end of the blocks that were asked for
	msgTime      byte = 6
)

const maxMessage = 8 << 20

// Handshake opens a connection on both sides and is sent again after a sync.
type Handshake struct {
	NetworkVersion int    `json:"network_version"`
	ChainID        Hash   `json:"chain_id"`
	NodeID         Hash   `json:"node_id"`
	Time           int64  `json:"time"` // Unix nanoseconds
	P2PAddress     string `json:"p2p_address"`
	RootNum        uint32 `json:"fork_db_root_num"`
	RootID         Hash   `json:"fork_db_root_id"`
	HeadNum        uint32 `json:"fork_db_head_num"`
	HeadID         Hash   `json:"fork_db_head_id"`
	OS             string `json:"os"`
	Agent          string `json:"agent"`
	Generation     int    `json:"generation"`
}

type goAway struct {
	Reason string `json:"reason"`
}

// request asks for the blocks after height From, on the peer's best branch, at most Limit.
type request struct {
	From  uint32 `json:"from"`
	Limit uint32 `json:"limit"`
}

type endOfBlocks struct {
	Last uint32 `json:"last"` // height of the last one sent
	Head uint32 `json:"head"` // height of the sender's best head
}

// WriteMessage frames one message. Exported, with WriteHandshake, for tests that play a hostile peer.
func WriteMessage(w io.Writer, kind byte, v any) error {
	frame, err := encodeMessage(kind, v)
	if err != nil {
		return err
	}
	_, err = w.Write(frame)
	return err
}

// WriteHandshake sends a handshake; nothing in it is checked here.
func WriteHandshake(w io.Writer, h Handshake) error { return WriteMessage(w, msgHandshake, h) }

// ReadHandshake reads messages until the peer's handshake comes.
func ReadHandshake(r io.Reader) (Handshake, error) {
	for {
		kind, data, err := readMessage(r)
		if err != nil {
			return Handshake{}, err
		}
		if kind == msgHandshake {
			var h Handshake
			return h, json.Unmarshal(data, &h)
		}
	}
}

func encodeMessage(kind byte, v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	frame := binary.LittleEndian.AppendUint32(make([]byte, 0, len(data)+5), uint32(len(data)+1))
	return append(append(frame, kind), data...), nil
}

func readMessage(r io.Reader) (byte, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.LittleEndian.Uint32(head[:4])
	if n < 1 || n > maxMessage {
		return 0, nil, fmt.Errorf("message of %d bytes", n)
	}
	data := make([]byte, n-1)
	_, err := io.ReadFull(r, data)
	return head[4], data, err
}
