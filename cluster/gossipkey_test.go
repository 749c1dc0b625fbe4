package cluster

import (
	"bytes"
	"fmt"
	"testing"
)

// TestTheKeyOfGossipIsChanged in three steps, each member by member, and at no moment is anybody unheard.
func TestTheKeyOfGossipIsChanged(t *testing.T) {
	before, after := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	steps := [][][]byte{{before}, {before, after}, {after, before}, {after}}
	for i := range len(steps) - 1 {
		t.Run(fmt.Sprint("step ", i+1), func(t *testing.T) {
			g := &group{t: t, ca: newCA(t), members: map[string]*Cluster{}, configs: map[string]Config{}}
			t.Cleanup(func() {
				for id := range g.members {
					g.stop(id)
				}
			})
			done, not := g.config("m1"), g.config("m2")
			done.GossipKeys, not.GossipKeys = steps[i+1], steps[i]
			done.Found = true
			m1 := g.start(done)
			not.Join = []string{m1.GossipAddress()}
			m2 := g.start(not)
			eventually(t, "both hear each other's reports", func() bool {
				return !m1.Nodes()["m2"].Seen.IsZero() && !m2.Nodes()["m1"].Seen.IsZero()
			})
		})
	}
}

// keyring is a key, or none.
func keyring(key []byte) [][]byte {
	if key == nil {
		return nil
	}
	return [][]byte{key}
}
