package cluster

import (
	"context"
	"fmt"
	"log"
	"net"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"
)

// Network is how members reach each other: a seam, so that tests can use a network in memory (package clustertest). TLS
// is laid over its streams by this package. All methods may be called from any goroutine.
type Network interface {
	// Listen takes streams at a host:port.
	Listen(addr string) (net.Listener, error)
	// Dial opens a stream to a host:port.
	Dial(ctx context.Context, addr string) (net.Conn, error)
	// Gossip opens memberlist's transport at a host:port.
	Gossip(bind string, log *log.Logger) (memberlist.Transport, error)
}

// realNetwork is TCP and UDP. Where a member listens on an address of loopback, and the other one is on loopback, too, it
// dials from that address: so whoever stands between the members of a sandbox (drill's wire) can tell them apart.
type realNetwork struct {
	local string // host:port listened on
}

func (realNetwork) Listen(addr string) (net.Listener, error) { return net.Listen("tcp", addr) } //nolint:noctx // at the start only

func (n realNetwork) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return dialer(n.local, addr).DialContext(ctx, "tcp", addr)
}

// dialer dials addr, from the host that is listened on where both are loopback.
func dialer(listened, addr string) *net.Dialer {
	from, to := loopbackIP(listened), loopbackIP(addr)
	if from == nil || to == nil || (from.To4() == nil) != (to.To4() == nil) {
		return &net.Dialer{}
	}
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}
}

// loopbackIP is the address in host:port if it is one of loopback, else nil.
func loopbackIP(addr string) net.IP {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return ip
	}
	return nil
}

func (realNetwork) Gossip(bind string, l *log.Logger) (memberlist.Transport, error) {
	ip, port, err := resolve(bind)
	if err != nil {
		return nil, err
	}
	t, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{ip}, BindPort: port, Logger: l})
	if err != nil {
		return nil, err
	}
	return gossipTransport{t, bind}, nil
}

// gossipTransport is memberlist's, but for where its streams come from.
type gossipTransport struct {
	*memberlist.NetTransport
	local string
}

// DialTimeout implements memberlist.Transport.
func (t gossipTransport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	d := dialer(t.local, addr)
	d.Timeout = timeout
	return d.Dial("tcp", addr)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (t gossipTransport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}

// resolve makes an IP address and a port of host:port: memberlist takes no names. An empty host is every interface.
func resolve(addr string) (string, int, error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: %w", addr, err)
	}
	port, err := strconv.Atoi(p)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("address %q: port %q is none", addr, p)
	}
	if host == "" {
		return "0.0.0.0", port, nil
	}
	if ip := net.ParseIP(host); ip != nil {
		return ip.String(), port, nil
	}
	ip, err := net.ResolveIPAddr("ip", host)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: %w", addr, err)
	}
	return ip.String(), port, nil
}
