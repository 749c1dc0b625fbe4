package sim

import (
	"os"
	"path/filepath"
	"testing"
)

func TestPartitionFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cuts")
	c, stop, done := newCuts(), make(chan struct{}), make(chan struct{})
	go func() { c.watch(path, stop); close(done) }()
	defer func() { close(stop); <-done }()
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("# nothing\na\nb out\n")
	for _, w := range []string{"a in", "a out", "b out"} {
		until(t, "cut "+w, func() bool { return c.wait(w[:1], w[2:]) != nil })
	}
	if c.wait("b", "in") != nil || c.wait("c", "out") != nil {
		t.Error("a whole link is cut")
	}
	changed := c.wait("a", "in")
	write("")
	<-changed
	until(t, "healed", func() bool { return c.wait("a", "in") == nil && c.wait("b", "out") == nil })
	c.set("*", "in", true)
	if c.wait("z", "in") == nil || c.wait("z", "out") != nil {
		t.Error("everybody's inward link is to be cut")
	}
}
