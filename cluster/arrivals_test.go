package cluster

import (
	"errors"
	"net"
	"testing"
	"time"
)

func TestArrivals(t *testing.T) {
	var a arrivals
	at := func(host, port int) net.Addr {
		return &net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(host)), Port: port}
	}
	var leave []func()
	for i := range maxArrivals {
		l, err := a.enter(at(i/maxArrivalsEach, i))
		if err != nil {
			t.Fatalf("arrival %d: %v", i, err)
		}
		leave = append(leave, l)
	}
	if _, err := a.enter(at(200, 1)); !errors.Is(err, errCrowd) {
		t.Errorf("one too many in all: %v", err)
	}
	leave[0]() // of address 0
	if _, err := a.enter(at(1, 1)); !errors.Is(err, errCrowd) {
		t.Errorf("one too many of an address: %v", err)
	}
	if _, err := a.enter(at(0, 1)); err != nil {
		t.Errorf("a place that was given back: %v", err)
	}
	for _, l := range leave[1:] {
		l()
	}
	if a.all != 1 || len(a.each) != 1 {
		t.Errorf("%d places, of %v, are taken", a.all, a.each)
	}
}

// TestCrowd: a stream comes in where there is a place, and gives it back.
func TestCrowd(t *testing.T) {
	g := newGroup(t, 1)
	m1 := g.members["m1"]
	group := m1.streams.groupID()
	dial := func() error {
		ctx, cancel := within(time.Second)
		defer cancel()
		s := &streams{id: "m2", network: realNetwork{}, tls: g.ca.credentials(t, "m2"), open: map[*stream]struct{}{}}
		s.group.Store(&group)
		conn, err := s.dial(ctx, kindForward, m1.RaftAddress(), "m1")
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	a := &m1.streams.arrivals
	arriving := func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.all
	}
	var leave []func()
	for range maxArrivalsEach {
		l, err := a.enter(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		leave = append(leave, l)
	}
	if err := dial(); err == nil {
		t.Error("one more of the same address is let in")
	}
	for _, l := range leave {
		l()
	}
	if err := dial(); err != nil {
		t.Errorf("where there are places: %v", err)
	}
	eventually(t, "all places are given back", func() bool { return arriving() == 0 })
}
