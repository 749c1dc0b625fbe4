package clustertest

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// transport is memberlist's view of the network. It drops what cannot be delivered: memberlist's own mock blocks on dead
// peers.
type transport struct {
	*network
	addr     string
	listener *listener
	packets  chan *memberlist.Packet
	streams  chan net.Conn
	once     sync.Once
	done     chan struct{}
	wg       sync.WaitGroup
}

func (t *transport) accept() {
	for {
		c, err := t.listener.Accept()
		if err != nil {
			return
		}
		select {
		case t.streams <- c:
		case <-t.done:
			_ = c.Close()
			return
		}
	}
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	ip, port, err := net.SplitHostPort(t.addr)
	if err != nil {
		return nil, 0, err
	}
	n, err := strconv.Atoi(port)
	return net.ParseIP(ip).To4(), n, err
}

// WriteTo implements memberlist.Transport.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	now := time.Now()
	select {
	case <-t.done:
		return now, net.ErrClosed
	default:
	}
	h := t.hub
	h.thawed(t.id)
	h.mu.Lock()
	to := h.packets[addr]
	lost, latency := to == nil || h.rand.Float64() < h.loss || h.isCut(t.id, to.id), h.latency
	if to != nil {
		if p, ok := h.paths[[2]string{t.id, to.id}]; ok {
			lost, latency = lost || h.rand.Float64() < p.Loss, p.Latency
		}
	}
	h.mu.Unlock()
	if lost {
		return now, nil
	}
	data := append([]byte(nil), b...)
	time.AfterFunc(latency, func() {
		if cut, _ := h.path(t.id, to.id); cut {
			return
		}
		h.thawed(to.id) // it lies in the socket's buffer
		select {
		case to.packets <- &memberlist.Packet{Buf: data, From: &net.UDPAddr{IP: net.ParseIP(t.ip), Port: 7946}, Timestamp: time.Now()}:
		case <-to.done:
		}
	})
	return now, nil
}

// PacketCh implements memberlist.Transport.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// DialTimeout implements memberlist.Transport.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	select {
	case <-t.done:
		return nil, fmt.Errorf("dial %s: %w", addr, net.ErrClosed)
	default:
	}
	return t.dial(ctx, addr)
}

// StreamCh implements memberlist.Transport.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown implements memberlist.Transport.
func (t *transport) Shutdown() error {
	t.once.Do(func() {
		close(t.done)
		t.hub.mu.Lock()
		if t.hub.packets[t.addr] == t {
			delete(t.hub.packets, t.addr)
		}
		t.hub.mu.Unlock()
	})
	err := t.listener.Close()
	t.wg.Wait()
	return err
}
