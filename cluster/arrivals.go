package cluster

import (
	"errors"
	"net"
	"sync"
)

// So many streams may be on their way in at once: of one address, for members behind one there are few, and in all.
const (
	maxArrivalsEach = 64
	maxArrivals     = 512
)

var errCrowd = errors.New("too many streams are on their way in at once")

// arrivals counts the streams that have not shown yet whose they are: a stranger who opens many and says nothing, or says it
// slowly, must not use up what members need.
type arrivals struct {
	mu   sync.Mutex
	all  int
	each map[string]int
}

// enter takes a place, or refuses; leave gives it back.
func (a *arrivals) enter(from net.Addr) (leave func(), err error) {
	host := from.String()
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all >= maxArrivals || a.each[host] >= maxArrivalsEach {
		return nil, errCrowd
	}
	if a.each == nil {
		a.each = map[string]int{}
	}
	a.all++
	a.each[host]++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.all--
		if a.each[host]--; a.each[host] == 0 {
			delete(a.each, host)
		}
	}, nil
}
