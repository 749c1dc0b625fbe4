package node

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"roundtable/chain"
)

// fakeChain is the best chain of a node, which may switch forks and get shorter.
type fakeChain struct {
	blocks []BlockInfo // number i+1
	next   int
}

func (c *fakeChain) grow() {
	n, prev := uint32(len(c.blocks)+1), ""
	if n > 1 {
		prev = c.blocks[n-2].ID
	}
	c.next++
	c.blocks = append(c.blocks, BlockInfo{Num: n, ID: fmt.Sprintf("%08x-%d", n, c.next), Previous: prev, Producer: "eosio",
		Time: Time{time.UnixMilli(chain.Slot(c.next + 1000).UnixMilli())}})
}

func (c *fakeChain) get(_ context.Context, num uint32) (BlockInfo, error) {
	if num == 0 || int(num) > len(c.blocks) {
		return BlockInfo{}, &APIError{Name: "unknown_block_exception"}
	}
	return c.blocks[num-1], nil
}

func (c *fakeChain) info() Info {
	b := c.blocks[len(c.blocks)-1]
	return Info{HeadNum: b.Num, HeadID: b.ID, HeadTime: b.Time}
}

// TestFollowerReportsTheBestChain: whatever the chain does, after enough polls the last report of each number since the
// first one is the block that stands there, and no block is reported twice in a row for its number.
func TestFollowerReportsTheBestChain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &fakeChain{}
		for range rapid.IntRange(1, 50).Draw(t, "before") {
			c.grow()
		}
		first := len(c.blocks)
		last := map[uint32]string{}
		f := &follower{get: c.get, maxGap: 240, report: func(info BlockInfo) {
			b, producer := info.Block(), info.Producer
			if last[b.Num] == b.ID || producer != "eosio" || b.Slot == 0 {
				t.Fatalf("%+v again, or incomplete", b)
			}
			last[b.Num] = b.ID
		}}
		poll := func() {
			if err := f.follow(context.Background(), c.info()); err != nil {
				t.Fatal(err)
			}
		}
		poll()
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			if back := rapid.IntRange(0, 12).Draw(t, "fork"); back < 6 {
				c.blocks = c.blocks[:max(first, len(c.blocks)-back)]
			}
			for range rapid.IntRange(0, 20).Draw(t, "grow") {
				c.grow()
			}
			poll()
		}
		c.grow()
		for range 100 {
			poll()
		}
		for i, b := range c.blocks {
			if i+1 >= first && last[b.Num] != b.ID {
				t.Fatalf("#%d: reported %q last, on the chain is %q (began at %d)", b.Num, last[b.Num], b.ID, first)
			}
		}
	})
}

func TestFollowerSkipsLongGaps(t *testing.T) {
	c := &fakeChain{}
	c.grow()
	n := 0
	f := &follower{get: c.get, maxGap: 100, report: func(BlockInfo) { n++ }}
	if err := f.follow(t.Context(), c.info()); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	for range 5000 {
		c.grow()
	}
	var calls int
	for calls = 0; f.tip < 5001; calls++ {
		if err := f.follow(t.Context(), c.info()); err != nil {
			t.Fatal(err)
		}
	}
	if n != 101 || f.skipped != 4900 || calls != 4 || len(f.seen) > followBack {
		t.Errorf("%d reports, %d skipped, %d calls", n, f.skipped, calls)
	}
	_, err := f.get(t.Context(), 0)
	if err == nil {
		t.Error("no block 0")
	}
}

func TestStalled(t *testing.T) {
	now := time.UnixMilli(chain.Slot(12 * 1000).UnixMilli()) // the first slot of a window
	at := func(slots int) time.Time { return now.Add(time.Duration(slots) * 500 * time.Millisecond) }
	head := func(slots int) chain.Slot { return chain.Slot(12*1000 + slots) }
	one, three := []string{"us"}, []string{"us", "b", "c"} // window 1000 is b's: 1000 % 3 == 1
	for _, c := range []struct {
		name     string
		schedule []string
		head     chain.Slot
		since    time.Time
		now      time.Time
		want     bool
	}{
		{"head is fresh", one, head(-1), at(-100), at(0), false},
		{"five slots missed", one, head(-6), at(-100), at(0), false},
		{"six slots missed", one, head(-7), at(-100), at(0), true},
		{"just resumed on an old head", one, head(-1000), at(-3), at(0), false},
		{"resumed and nothing came", one, head(-1000), at(-9), at(0), true},
		{"pause state unknown", one, head(-1000), time.Time{}, at(0), false},
		{"the others' windows", three, head(-1), at(-100), at(23), false},
		{"ours after theirs", three, head(23), at(-100), at(31), true},
		{"one lap and more", three, head(-5000), at(-6000), at(0), true},
		{"no schedule", nil, head(-5000), at(-6000), at(0), false},
	} {
		if got := stalled(c.schedule, []string{"us"}, c.head, c.since, c.now, 6); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
