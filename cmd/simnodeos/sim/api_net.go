package sim

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
)

func kill() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) }

const (
	noKey = "EOS1111111111111111111111111111111114T1Anm"
)

// connectionJSON is one entry of /v1/net/connections; p is nil for a peer that is not connected.
func connectionJSON(address string, p *peer) string {
	var h Handshake
	ip, port, when := "", "", "0"
	if p != nil {
		h, ip, port = p.hi(), p.host, p.port
		if h.Time != 0 {
			when = fmt.Sprintf(`"%d"`, h.Time)
		}
	}
	return fmt.Sprintf(`{"peer":%s,"remote_ip":"%s","remote_port":"%s","connecting":false,"syncing":false,"is_bp_peer":false,"is_bp_gossip_peer":false,`+
		`"is_socket_open":%t,"is_blocks_only":false,"is_transactions_only":false,"last_vote_received":"1970-01-01T00:00:00.000",`+
		`"last_handshake":{"network_version":%d,"chain_id":"%s","node_id":"%s","key":"%s","time":%s,"token":"%s","sig":"%s","p2p_address":%s,`+
		`"fork_db_root_num":%d,"fork_db_root_id":"%s","fork_db_head_num":%d,"fork_db_head_id":"%s","os":%s,"agent":%s,"generation":%d}}`,
		quoteJSON(address), ip, port, p != nil, h.NetworkVersion, h.ChainID, h.NodeID, noKey, when, Hash{}, noSignature, quoteJSON(h.P2PAddress),
		h.RootNum, h.RootID, h.HeadNum, h.HeadID, quoteJSON(h.OS), quoteJSON(h.Agent), h.Generation)
}

// entry is a connection as the API lists it.
type entry struct {
	address string
	peer    *peer
}

func (nw *network) entries() []entry {
	nw.mu.Lock()
	defer nw.mu.Unlock()
	var out []entry
	for _, a := range nw.order {
		out = append(out, entry{a, nw.wanted[a].conn})
	}
	for _, p := range nw.conns {
		if p.outgoing == nil {
			out = append(out, entry{"", p})
		}
	}
	return out
}

func (n *Node) connections() string {
	var parts []string
	for _, e := range n.net.entries() {
		parts = append(parts, connectionJSON(e.address, e.peer))
	}
	return "[" + strings.Join(parts, ",") + "]"
}

func hostParam(body []byte) string {
	var s string
	if json.Unmarshal(body, &s) == nil {
		return s
	}
	return string(body)
}

func (n *Node) netStatus(body []byte) response {
	host := hostParam(body)
	for _, e := range n.net.entries() {
		if e.address == host {
			return ok201(connectionJSON(e.address, e.peer))
		}
	}
	return ok201("null")
}

func (n *Node) netConnect(body []byte) response {
	if n.net.connect(hostParam(body)) {
		return ok201(`"added connection"`)
	}
	return ok201(`"already connected"`)
}

func (n *Node) netDisconnect(body []byte) response {
	if n.net.disconnect(hostParam(body)) {
		return ok201(`"connection removed"`)
	}
	return ok201(`"no known connection for host"`)
}
