package drill

import (
	"cmp"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// bridgeHost is where member i is, with 10+i at its end, in each sandbox: nobody outside sees it. It is of loopback, for
// only there managers and nodes go without TLS; the kernel takes such an address on another link where it is told to.
const bridgeHost = "127.77.0."

var (
	errNoRoot  = errors.New("drill: network namespaces need root (or go without --netns: proxies do as well)")
	errNoDelay = errors.New("drill: latency in network namespaces needs netem in the kernel (CONFIG_NET_SCH_NETEM) and tc; without --netns proxies delay")
)

// bridge is the network between the members, in the kernel: each has a namespace of its own, with one link to a bridge in
// another one. What is cut, or lost, the bridge's filter drops between two of its ports: the sender hears neither a reset
// nor an error, and TCP has its own timers to find out. The drill itself enters a member's namespace to talk to it and never
// crosses the bridge. Needed of the kernel: veth, bridge, nf_tables with its bridge family; for latency netem.
type bridge struct {
	ends  []*Member
	own   *namespace
	mu    sync.Mutex
	cuts  map[link]bool
	loss  float64
	delay time.Duration
}

// checkBridge tells what is not there that a bridge needs.
func checkBridge() error {
	for tool, from := range map[string]string{"ip": "iproute2", "nft": "nftables"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("drill: network namespaces need %s: install %s (or go without --netns: proxies do as well)", tool, from)
		}
	}
	n, err := newNamespace()
	if errors.Is(err, syscall.EPERM) {
		return errNoRoot
	}
	return errors.Join(err, n.close())
}

// checkDelay tells whether latency cannot be had.
func checkDelay() error {
	n, err := newNamespace()
	if err != nil {
		return err
	}
	defer func() { _ = n.close() }()
	return delay(n, time.Millisecond, "lo")
}

// delay sets the latency of what leaves a namespace by these links.
func delay(n *namespace, d time.Duration, links ...string) error {
	var script strings.Builder
	for _, link := range links {
		if d > 0 {
			fmt.Fprintf(&script, "qdisc replace dev %s root netem delay %dus limit 100000\n", link, d.Microseconds())
		} else {
			fmt.Fprintf(&script, "qdisc del dev %s root\n", link)
		}
	}
	if err := n.tool(script.String(), "tc", "-batch", "-"); err != nil {
		return fmt.Errorf("%w: %w", errNoDelay, err)
	}
	return nil
}

// openBridge makes everything and gives each member its namespace.
func openBridge(ends []*Member, latency time.Duration, loss float64) (*bridge, error) {
	b := &bridge{ends: ends, cuts: map[link]bool{}}
	if err := b.open(latency, loss); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bridge) open(latency time.Duration, loss float64) (err error) {
	if b.own, err = newNamespace(); err != nil {
		return err
	}
	if err := b.own.tool("link add bridge type bridge\nlink set bridge up\n", "ip", "-batch", "-"); err != nil {
		return err
	}
	for i, m := range b.ends {
		n, err := newNamespace()
		if err != nil {
			return err
		}
		m.namespace.Store(n)
		if err := b.connect(port(i), n, m.host); err != nil {
			return err
		}
	}
	if err := b.filter(); err != nil {
		return err
	}
	return errors.Join(b.setLoss(loss), b.setLatency(latency))
}

// port is the name of a member's link at the bridge; at the member it is "eth0".
func port(i int) string { return fmt.Sprintf("port%d", i) }

// connect links a namespace to the bridge and gives it its addresses: with 127.0.0.1 alone on lo, all others of loopback are
// somebody else's.
func (b *bridge) connect(port string, n *namespace, host string) error {
	there := fmt.Sprintf("link add %s type veth peer name eth0 netns %s\nlink set %[1]s master bridge up\n", port, n.path())
	if err := b.own.tool(there, "ip", "-batch", "-"); err != nil {
		return err
	}
	if err := n.write("ipv4/conf/eth0/route_localnet", "1"); err != nil {
		return err
	}
	here := fmt.Sprintf("addr add 127.0.0.1/32 dev lo\nlink set lo up\naddr add %s/24 dev eth0 scope global\nlink set eth0 up\n", host)
	return n.tool(here, "ip", "-batch", "-")
}

// close lets go of everything: the kernel removes it with the last process in it.
func (b *bridge) close() {
	_ = b.own.close()
	for _, m := range b.ends {
		_ = m.namespace.Swap(nil).close()
	}
}

func (b *bridge) change(f func(cuts map[link]bool)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b.cuts)
	return b.filter()
}

func (b *bridge) setLoss(p float64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p == b.loss {
		return nil
	}
	b.loss = p
	return b.filter()
}

// setLatency delays what leaves the bridge.
func (b *bridge) setLatency(d time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d == b.delay {
		return nil
	}
	links := make([]string, len(b.ends))
	for i := range links {
		links[i] = port(i)
	}
	if err := delay(b.own, d, links...); err != nil {
		return err
	}
	b.delay = d
	return nil
}

// filter puts the rules in force, all at once.
func (b *bridge) filter() error { return b.own.tool(rules(b.cuts, b.loss), "nft", "-f", "-") }

// rules are a script for nft.
func rules(cuts map[link]bool, loss float64) string {
	var list []string
	for l, cut := range cuts {
		way := fmt.Sprintf("ip saddr %s ip daddr %s", l.from.host, l.to.host)
		switch {
		case !cut:
		case l.p2p: // whoever of the two has dialled
			list = append(list, fmt.Sprintf("%s tcp dport %d", way, l.to.p2p), fmt.Sprintf("%s tcp sport %d", way, l.from.p2p))
		default:
			list = append(list, way)
		}
	}
	slices.SortFunc(list, cmp.Compare[string])
	const all = "meta protocol ip" // addresses are asked for (ARP) without loss
	switch {
	case loss >= 1:
		list = append(list, all)
	case loss > 0:
		list = append(list, fmt.Sprintf("%s numgen random mod 1000000 < %d", all, int(loss*1e6)))
	}
	var script strings.Builder
	script.WriteString("table bridge drill\ndelete table bridge drill\ntable bridge drill {\n\tchain between {\n\t\ttype filter hook forward priority 0\n")
	for _, rule := range list {
		fmt.Fprintf(&script, "\t\t%s drop\n", rule)
	}
	script.WriteString("\t}\n}\n")
	return script.String()
}
