package drill

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"roundtable/manager"
)

// Without a wire everything is at 127.0.0.1. With one, member i listens at 127.a.b.(10+i), and the others are told
// 127.a.b.(110+i), where the wire listens: the same ports at both. With namespaces the member listens, in its own, at an
// address that all know it by, its API as well.
const (
	hostBase  = 10
	frontBase = 110
	mostEnds  = 90
)

// libLag is how many blocks a chain with a wire needs to make one irreversible; a real one needs some 330 (or the votes of
// most finalizers). A single producer would else make irreversible what it signed while it was cut off, and its node could
// never follow the others again.
const libLag = 200

func join(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// raftBind is where a member listens for raft; raftAddress where the others find it. The same goes for the rest.
func (m *Member) raftBind() string    { return join(m.host, m.raft) }
func (m *Member) raftAddress() string { return join(m.front, m.raft) }

func (m *Member) gossipBind() string    { return join(m.host, m.gossip) } // TCP and UDP
func (m *Member) gossipAddress() string { return join(m.front, m.gossip) }

func (m *Member) p2pBind() string    { return join(m.host, m.p2p) }
func (m *Member) p2pAddress() string { return join(m.front, m.p2p) }

// httpBind is where the member's node serves its API: the wire does not reach it.
func (m *Member) httpBind() string { return local(m.http) }

// apiBind is where the manager serves its API. The drill asks there; the other members ask through the wire.
func (m *Member) apiBind() string { return m.API[strings.Index(m.API, "//")+2:] }

// advertise is the host that the other members are told where it is not the one listened on; "" where it is.
func (m *Member) advertise() string {
	if m.front == m.host {
		return ""
	}
	return m.front
}

// peerAddresses are the p2p addresses of all nodes but the member's own.
func (m *Member) peerAddresses(s *Sandbox) []string {
	var list []string
	for _, o := range s.ends() {
		if o != m {
			list = append(list, o.p2pAddress())
		}
	}
	return list
}

// nodeArgs are what the member's node is started with besides addresses, folders and its signer.
func (m *Member) nodeArgs(s *Sandbox) []string {
	args := []string{"--genesis-json", filepath.Join(s.Dir, "genesis.json"), "--p2p-max-nodes-per-host", "50"}
	if !s.simulated() {
		return args
	}
	ledger := ledgerFile
	if s.rest != nil {
		args = append(args, s.rest.keys()...)
		if m == s.rest.Member {
			ledger = "others.jsonl"
		}
	}
	args = append(args, "--sim-ledger", filepath.Join(m.Home, ledger), "--sim-schedule", strings.Join(s.Schedule(), ","))
	args = append(args, "--sim-clock-file", m.clockFile(), "--sim-control")
	if s.opts.Wire {
		args = append(args, "--sim-lib-lag", strconv.Itoa(libLag))
	}
	return args
}

// env is what is added to the environment of the member's process.
func (m *Member) env(s *Sandbox) []string {
	return append([]string{manager.EnvClock + "=" + m.clockFile(), manager.EnvStall + "=" + m.stallFile(), manager.EnvHold + "=" + m.holdFile()}, s.opts.Env...)
}

func (m *Member) clockFile() string { return filepath.Join(m.Home, "clock") }
func (m *Member) holdFile() string  { return filepath.Join(m.Home, "hold") }
func (m *Member) stallFile() string { return filepath.Join(m.Home, "stall") }

// setHosts gives every member its addresses.
func (s *Sandbox) setHosts() error {
	ends := s.ends()
	for _, m := range ends {
		m.host, m.front = "127.0.0.1", "127.0.0.1"
	}
	if !s.opts.Wire {
		return nil
	}
	if len(ends) > mostEnds {
		return fmt.Errorf("drill: %d members are too many for a wire", len(ends))
	}
	if s.opts.Namespaces {
		for i, m := range ends {
			m.host = bridgeHost + strconv.Itoa(hostBase+i)
			m.front, m.API = m.host, "http://"+join(m.host, m.api)
		}
		return checkBridge()
	}
	for range 100 {
		net := fmt.Sprintf("127.%d.%d.", 1+rand.IntN(254), rand.IntN(256))
		for i, m := range ends {
			m.host, m.front = net+strconv.Itoa(hostBase+i), net+strconv.Itoa(frontBase+i)
		}
		if free(ends) {
			return nil
		}
	}
	return errors.New("drill: no network of loopback (127.x.y.0) to listen on: a wire needs one")
}

// free reports whether all addresses of the members can be listened on.
func free(ends []*Member) bool {
	for _, m := range ends {
		for _, host := range []string{m.host, m.front} {
			for _, port := range []int{m.raft, m.gossip, m.p2p} {
				if !listens("tcp", host, port) || !listens("udp", host, port) {
					return false
				}
			}
		}
	}
	return true
}
