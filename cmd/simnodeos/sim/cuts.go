package sim

import (
	"os"
	"strings"
	"sync"
	"time"
)

// cuts are the links that are interrupted at present, by the agent name of the peer. A cut link loses nothing: it holds
// everything back until it heals or the connection times out. Safe for concurrent use.
type cuts struct {
	mu      sync.Mutex
	file    map[string]bool // "agent/in", "agent/out"; agent "*" is everybody
	control map[string]bool
	changed chan struct{}
}

func newCuts() *cuts {
	return &cuts{file: map[string]bool{}, control: map[string]bool{}, changed: make(chan struct{})}
}

// wait returns nil if the link is whole, else a channel that closes at the next change.
func (c *cuts) wait(agent, direction string) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, set := range []map[string]bool{c.file, c.control} {
		if set[agent+"/"+direction] || set["*/"+direction] {
			return c.changed
		}
	}
	return nil
}

// set cuts or heals one direction ("in", "out"), or both with "".
func (c *cuts) set(agent, direction string, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	mark(c.control, agent, direction, cut)
	close(c.changed)
	c.changed = make(chan struct{})
}

func mark(set map[string]bool, agent, direction string, cut bool) {
	for _, d := range []string{"in", "out"} {
		if direction == "" || direction == "both" || direction == d {
			if cut {
				set[agent+"/"+d] = true
			} else {
				delete(set, agent+"/"+d)
			}
		}
	}
}

// watch reads a partition file every 50 ms until stop closes. A file that is not there cuts nothing.
func (c *cuts) watch(path string, stop <-chan struct{}) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last := ""
	for {
		data, err := os.ReadFile(path)
		if err != nil {
			data = nil
		}
		if string(data) != last {
			last = string(data)
			set := map[string]bool{}
			for line := range strings.Lines(last) {
				if f := strings.Fields(line); len(f) > 0 && !strings.HasPrefix(f[0], "#") {
					mark(set, f[0], strings.Join(f[1:], ""), true)
				}
			}
			c.mu.Lock()
			c.file = set
			close(c.changed)
			c.changed = make(chan struct{})
			c.mu.Unlock()
		}
		select {
		case <-tick.C:
		case <-stop:
			return
		}
	}
}
