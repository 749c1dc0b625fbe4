package drill

import (
	"context"
	"fmt"
	"net"
	"time"
)

const (
	packetSize  = 64 << 10
	packetsHeld = 1024 // beyond that they are lost, as in any router
)

// packet is a datagram under way.
type packet struct {
	data []byte
	link link
	due  time.Time
}

// udp carries datagrams from front to a member's socket at back. sender tells who sends, by the socket's address. The way
// back is another proxy's: whoever answers writes to the address that the sender advertises.
func (w *wire) udp(to *Member, front, back string, sender func(*net.UDPAddr) *Member) error {
	target, err := net.ResolveUDPAddr("udp", back)
	if err != nil {
		return fmt.Errorf("drill: wire: %w", err)
	}
	c, err := net.ListenPacket("udp", front) //nolint:noctx // at the start only
	if err != nil {
		return fmt.Errorf("drill: wire: %w", err)
	}
	context.AfterFunc(w.ctx, func() { hangUp(c) })
	packets := make(chan packet, packetsHeld)
	w.wg.Go(func() { w.takePackets(c, to, sender, packets) })
	w.wg.Go(func() {
		for {
			select {
			case <-w.ctx.Done():
				return
			case p := <-packets:
				if rest := time.Until(p.due); rest > 0 && wait(w.ctx, rest) != nil {
					return
				}
				if cut, _ := w.broken(p.link); !cut {
					_, _ = c.WriteTo(p.data, target) // lost, where nobody listens
				}
			}
		}
	})
	return nil
}

func (w *wire) takePackets(c net.PacketConn, to *Member, sender func(*net.UDPAddr) *Member, packets chan<- packet) {
	buf := make([]byte, packetSize)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			if wait(w.ctx, 10*time.Millisecond) != nil {
				return
			}
			continue
		}
		address, ok := from.(*net.UDPAddr)
		if !ok {
			continue
		}
		l := link{from: sender(address), to: to}
		due, lost := w.due(l, time.Now())
		if cut, _ := w.broken(l); cut || lost {
			continue
		}
		select {
		case packets <- packet{append([]byte(nil), buf[:n]...), l, due}:
		default:
		}
	}
}
