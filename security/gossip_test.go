package security

import (
	"bytes"
	"testing"
)

// TestGossipKeys reads one key as NewGossipKey writes it, and several while it is changed.
func TestGossipKeys(t *testing.T) {
	one, two := NewGossipKey(), NewGossipKey()
	for name, c := range map[string]struct {
		text string
		want int
	}{
		"one": {string(one), 1}, "two": {string(one) + string(two), 2}, "blank lines": {"\n" + string(one) + "\n\n" + string(two) + "\n", 2},
		"none": {"\n", 0}, "empty": {"", 0}, "half a key": {string(one) + "AAAA\n", 0}, "no base64": {string(one) + "!", 0},
	} {
		keys, err := ParseGossipKeys([]byte(c.text))
		if len(keys) != c.want || (err == nil) != (c.want > 0) {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
	}
	both, err := ParseGossipKeys(append(bytes.Clone(one), two...))
	first, errFirst := ParseGossipKeys(one)
	if err != nil || errFirst != nil || !bytes.Equal(both[0], first[0]) {
		t.Error("the first line is not the first key")
	}
}
