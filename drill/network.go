package drill

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

var errNoWire = errors.New("drill: the sandbox has no wire (Options.Wire)")

// network is what is between the members and can fail: a wire of proxies, or a bridge in the kernel.
type network interface {
	change(f func(cuts map[link]bool)) error
	setLatency(d time.Duration) error
	setLoss(p float64) error
	close()
}

// openNetwork puts it between the members, once.
func (s *Sandbox) openNetwork() error {
	if !s.opts.Wire || s.network != nil {
		return nil
	}
	if !s.opts.Namespaces {
		return s.openWire()
	}
	b, err := openBridge(s.ends(), s.opts.Latency, s.opts.Loss)
	if err != nil {
		return err
	}
	s.network = b
	return nil
}

// openWire starts the proxies.
func (s *Sandbox) openWire() error {
	w := newWire(s.caller, s.opts.Latency, s.opts.Loss)
	var all error
	for _, m := range s.ends() {
		if m.raft != 0 {
			all = errors.Join(all,
				w.tcp(m, false, m.raftAddress(), m.raftBind()),
				w.tcp(m, false, m.gossipAddress(), m.gossipBind()),
				w.udp(m, m.gossipAddress(), m.gossipBind(), s.sender),
				w.tcp(m, false, join(m.front, m.api), m.apiBind()))
		}
		all = errors.Join(all, w.tcp(m, true, m.p2pAddress(), m.p2pBind()))
	}
	if all != nil {
		w.close()
		return all
	}
	s.network = w
	return nil
}

// closeNetwork takes it away.
func (s *Sandbox) closeNetwork() {
	s.http.CloseIdleConnections() // a socket keeps its namespace alive
	if s.network != nil {
		s.network.close()
		s.network = nil
	}
}

// client asks the members' APIs and nodes. Where they have namespaces it dials from within: no fault comes between.
func (s *Sandbox) client() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = func(ctx context.Context, _, address string) (net.Conn, error) {
		for _, m := range s.ends() {
			if address == m.apiBind() || address == m.httpBind() {
				return m.namespace.Load().dial(ctx, address)
			}
		}
		return nil, fmt.Errorf("drill: no member has %s", address)
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: s.credentials(t)}
}

// Cut lets nothing of what a member sends reach another one any more, manager and node; the other direction stays as it is.
func (s *Sandbox) Cut(from, to *Member) error { return s.cut(link{from, to, false}) }

// CutP2P is Cut for the nodes alone.
func (s *Sandbox) CutP2P(from, to *Member) error { return s.cut(link{from, to, true}) }

func (s *Sandbox) cut(l link) error {
	return s.change(func(cuts map[link]bool) { cuts[l] = true })
}

// Heal mends every cut.
func (s *Sandbox) Heal() error {
	return s.change(func(cuts map[link]bool) { clear(cuts) })
}

// HealPair mends every cut between two members, either way.
func (s *Sandbox) HealPair(a, b *Member) error {
	return s.change(func(cuts map[link]bool) {
		for _, p2p := range []bool{false, true} {
			delete(cuts, link{a, b, p2p})
			delete(cuts, link{b, a, p2p})
		}
	})
}

func (s *Sandbox) change(f func(cuts map[link]bool)) error {
	if s.network == nil {
		return errNoWire
	}
	return s.network.change(f)
}

// SetLatency changes the one-way latency of all that goes between the members, for what is sent from now on.
func (s *Sandbox) SetLatency(d time.Duration) error {
	if s.network == nil {
		return errNoWire
	}
	return s.network.setLatency(d)
}

// SetLoss changes which part (0..1) of what is sent gets lost: of the datagrams, and of what TCP sends at once; that comes
// again 200 ms later (with namespaces: of the packets, and TCP does what it does).
func (s *Sandbox) SetLoss(p float64) error {
	if s.network == nil {
		return errNoWire
	}
	return s.network.setLoss(p)
}

// sender tells who sends a datagram: gossip sends from the socket it listens on.
func (s *Sandbox) sender(a *net.UDPAddr) *Member { return s.at(a.IP) }

// at is the member who listens at an address of his own.
func (s *Sandbox) at(ip net.IP) *Member {
	host := ip.String()
	for _, m := range s.ends() {
		if m.host == host && m.front != host {
			return m
		}
	}
	return nil
}

// caller tells who dialled: whose address it is, or else the member whose process has the other end of the connection: a
// nodeos cannot be asked to dial from an address of its own.
func (s *Sandbox) caller(c net.Conn) *Member {
	remote, ok1 := c.RemoteAddr().(*net.TCPAddr)
	here, ok2 := c.LocalAddr().(*net.TCPAddr)
	if !ok1 || !ok2 {
		return nil
	}
	if m := s.at(remote.IP); m != nil {
		return m // a manager of ours dials from where it listens
	}
	inode, err := socketInode(remote, here)
	if err != nil {
		return nil // it has closed already
	}
	name := "socket:[" + inode + "]"
	for _, m := range s.ends() {
		for _, pid := range []int64{m.nodePid.Load(), m.pid.Load()} {
			if pid != 0 && holds(int(pid), name) {
				return m
			}
		}
	}
	for _, m := range s.ends() {
		pid := int(m.pid.Load())
		if pid == 0 {
			continue
		}
		nodes, err := children(pid)
		if err != nil {
			continue
		}
		for _, node := range nodes {
			if holds(node, name) {
				m.nodePid.Store(int64(node)) // looking through all processes costs milliseconds
				return m
			}
		}
	}
	return nil
}

// holds reports whether a process has a file of this name open.
func holds(pid int, name string) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	list, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, fd := range list {
		if target, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && target == name {
			return true
		}
	}
	return false
}

// socketInode finds the inode of the IPv4 socket with these addresses.
func socketInode(own, peer *net.TCPAddr) (string, error) {
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} { // 6: a program that dials 127.0.0.1 from a socket of both families
		table, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		want := []byte(procAddress(own, file) + " " + procAddress(peer, file))
		i := bytes.Index(table, want)
		if i < 0 {
			continue
		}
		line, _, _ := bytes.Cut(table[i:], []byte("\n"))
		if fields := strings.Fields(string(line)); len(fields) > 8 && fields[8] != "0" {
			return fields[8], nil
		}
	}
	return "", fmt.Errorf("drill: no socket from %s to %s", own, peer)
}

// procAddress writes an address as /proc/net/tcp does: words in the machine's order, then the port.
func procAddress(a *net.TCPAddr, file string) string {
	ip := a.IP.To4()
	if strings.HasSuffix(file, "6") {
		ip = a.IP.To16()
	}
	var b strings.Builder
	for ; len(ip) >= 4; ip = ip[4:] {
		fmt.Fprintf(&b, "%08X", binary.NativeEndian.Uint32(ip))
	}
	fmt.Fprintf(&b, ":%04X", a.Port)
	return b.String()
}
