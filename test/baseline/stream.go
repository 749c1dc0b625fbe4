package baseline

import (
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/raft"
)

// stream is raft's TCP: it listens and dials on the bind address, and tells the others another one.
type stream struct {
	net.Listener
	advertise string
}

func listen(cfg Config) (*stream, error) {
	l, err := net.Listen("tcp", cfg.Bind) //nolint:noctx // closed with raft's transport
	if err != nil {
		return nil, fmt.Errorf("baseline: raft: %w", err)
	}
	return &stream{l, cfg.Advertise}, nil
}

// Dial implements raft.StreamLayer. Connections come from the bind address, which is how a proxy tells members apart.
func (s *stream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout}
	if a, ok := s.Listener.Addr().(*net.TCPAddr); ok && !a.IP.IsUnspecified() {
		d.LocalAddr = &net.TCPAddr{IP: a.IP}
	}
	return d.Dial("tcp", string(to))
}

// Addr is what the other members dial.
func (s *stream) Addr() net.Addr { return address(s.advertise) }

type address string

// Network implements net.Addr.
func (address) Network() string { return "tcp" }

// String is host:port.
func (a address) String() string { return string(a) }
