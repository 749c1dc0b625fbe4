package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"roundtable/chain"
)

const ms = time.Millisecond

// proofSlot is the first slot of a window, and proofTime its timestamp.
const proofSlot = chain.Slot(1_700_000_004)

var proofTime = time.UnixMilli(proofSlot.UnixMilli())

// came is a block that comes at a time after proofTime.
type came struct {
	slot int // from proofSlot
	num  int // 0 = one more than the last
	at   time.Duration
}

// punctual are blocks of these slots as nodeos sends them: block k of a window 37.5*(k+1) ms early (FACT 29).
func punctual(slots ...int) []came {
	var all []came
	for _, s := range slots {
		k := s % chain.WindowSlots
		all = append(all, came{slot: s, at: time.Duration(s)*500*ms - time.Duration(k+1)*37500*time.Microsecond})
	}
	return all
}

func slots(from, to int) []int {
	var all []int
	for s := from; s <= to; s++ {
		all = append(all, s)
	}
	return all
}

// moved is the same seen by a clock that is off.
func moved(blocks []came, by time.Duration) []came {
	var all []came
	for _, b := range blocks {
		b.at += by
		all = append(all, b)
	}
	return all
}

func healthy(head chain.Block, at time.Time) *View {
	return &View{Running: true, Healthy: true, Head: head, HeadAt: at, PeersKnown: true, Peers: 2}
}

// feed sees blocks come and gives the number of the one that proved it, 0 for none, and the last text.
func feed(p *Proof, blocks []came) (proved int, text string) {
	num := 100
	for i, b := range blocks {
		num++
		if b.num != 0 {
			num = b.num
		}
		at := proofTime.Add(b.at)
		head := chain.Block{Slot: proofSlot + chain.Slot(b.slot), Num: uint32(num), ID: fmt.Sprint(num, b.slot)}
		var ok bool
		for range 2 { // the same view again changes nothing
			ok, text = p.See(healthy(head, at), chain.Block{}, at)
		}
		if ok {
			return i + 1, text
		}
	}
	return 0, text
}

func TestProofOfBlocks(t *testing.T) {
	burst := func(from, to int, at, apart time.Duration) []came {
		var all []came
		for i, s := range slots(from, to) {
			all = append(all, came{slot: s, at: at + time.Duration(i)*apart})
		}
		return all
	}
	for _, c := range []struct {
		name   string
		blocks []came
		proved int // by which block; the first is the head it came up with
		text   string
	}{
		{"one producer", punctual(slots(0, 9)...), 6, "block 5 of 5"},
		{"four are not enough", punctual(slots(0, 4)...), 0, "block 4 of 5"},
		{"over a window's end", punctual(slots(8, 20)...), 6, ""},
		{"somebody missed a slot", punctual(0, 1, 3, 4, 5, 6), 6, ""},
		{"every other slot is missed", punctual(0, 2, 4, 6, 8, 10), 6, ""},
		{"somebody missed a window", punctual(9, 10, 11, 24, 25, 26), 6, ""},
		{"our clock is slow", moved(punctual(slots(8, 20)...), -3*time.Second), 6, ""},
		{"our clock is fast", moved(punctual(slots(8, 20)...), 3*time.Second), 6, ""},
		{"our clock is fast, and slots are missed", moved(punctual(9, 10, 11, 24, 26, 27), 3*time.Second), 6, ""},
		{"full blocks come up to twelve slots early", append(burst(0, 11, -500*ms, 20*ms), burst(12, 23, 5500*ms, 20*ms)...), 6, ""},
		{"catching up", burst(0, 60, time.Minute, 20*ms), 0, "block 0 of 5: blocks come in a burst, it is catching up"},
		{"catching up by a fast clock", moved(burst(0, 60, time.Minute, 20*ms), time.Second), 0, "blocks come in a burst"},
		{"catching up at twice the pace", burst(0, 60, time.Minute, 250*ms), 0, ""},
		{"catching up in leaps", []came{{slot: 0, at: 0}, {slot: 20, num: 120, at: 10 * time.Second}, {slot: 40, num: 140, at: 20 * time.Second}}, 0, "burst"},
		{"caught up", append(burst(0, 38, 19500*ms, 10*ms), punctual(slots(41, 50)...)...), 44, ""},
		{"a fork switch", append(append(punctual(0, 1, 2, 3), came{slot: 4, num: 104, at: 1900 * ms}), punctual(slots(5, 8)...)...), 0, "block 4 of 5"},
		{"a fork switch's other branch is longer", append(append(punctual(0, 1, 2, 3), came{slot: 4, num: 104, at: 1900 * ms}), punctual(slots(5, 9)...)...), 10, ""},
		{"late by a fast clock", append(moved(punctual(0, 1, 2), 3*time.Second), came{slot: 3, at: 5500 * ms}), 0, "block 0 of 5: the last block came late"},
	} {
		t.Run(c.name, func(t *testing.T) {
			proved, text := feed(&Proof{}, c.blocks)
			if proved != c.proved || !strings.Contains(text, c.text) {
				t.Errorf("proved by block %d (%s), want %d (%s)", proved, text, c.proved, c.text)
			}
		})
	}
}

// TestProofWhereverItBegins: a live chain proves a node whatever the place in the window, in ±20 ms of jitter, by any clock.
func TestProofWhereverItBegins(t *testing.T) {
	for begin := range 24 {
		for _, off := range []time.Duration{0, -5 * time.Second, 5 * time.Second, 700 * ms} {
			blocks := moved(punctual(slots(begin, begin+5)...), off)
			for i := range blocks {
				blocks[i].at += time.Duration(i%3-1) * 20 * ms
			}
			if proved, text := feed(&Proof{}, blocks); proved != 6 {
				t.Errorf("from slot %d, clock off by %s: %d, %s", begin, off, proved, text)
			}
		}
	}
}

// TestProofOfTheRest: everything but the blocks.
func TestProofOfTheRest(t *testing.T) {
	p := &Proof{Blocks: 2, Peers: 2}
	head := chain.Block{}
	at := proofTime
	next := func() {
		head.Slot, head.Num = max(head.Slot+1, proofSlot), head.Num+1
		at = time.UnixMilli(head.Slot.UnixMilli())
	}
	var best chain.Block
	expect := func(v *View, want bool, text string) {
		t.Helper()
		if ok, got := p.See(v, best, at); ok != want || !strings.Contains(got, text) {
			t.Errorf("%v, %q; want %v, %q", ok, got, want, text)
		}
	}
	expect(&View{Reason: "the node is starting"}, false, "the node is starting")
	next()
	expect(healthy(head, at), false, "block 0 of 2")
	next()
	expect(healthy(head, at), false, "block 1 of 2")
	next()
	v := healthy(head, at)
	v.PeersKnown = false
	expect(v, false, "not known yet")
	v = healthy(head, at)
	v.Peers = 1
	expect(v, false, "1 of 2 p2p peers")
	v = healthy(head, at)
	v.Healthy, v.Reason = false, "the main thread does not answer"
	expect(v, false, "the main thread does not answer")
	best = chain.Block{Slot: head.Slot + 3, Num: 99}
	expect(healthy(head, at), false, "its head #3 is 3 slots behind the best")
	best.Slot--
	expect(healthy(head, at), true, "block 2 of 2")
	at = at.Add(7 * time.Second)
	expect(healthy(head, at.Add(-7*time.Second)), false, "no block for 7s: the chain stands still at #3")
	expect(&View{Reason: "the node is stopped"}, false, "the node is stopped")
	next()
	expect(healthy(head, at), false, "block 0 of 2") // another process: anew
	next()
	best.Slot = head.Slot + 3
	expect(healthy(head, at), false, "behind the best")
	next()
	expect(healthy(head, at), false, "block 1 of 2") // what came before it was near does not count
	next()
	expect(healthy(head, at), true, "block 2 of 2")
}

// fakeViews is a Monitor whose views a test makes.
type fakeViews struct {
	mu      sync.Mutex
	view    *View
	changed chan struct{}
}

func (f *fakeViews) View() (*View, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.view, f.changed
}

func (f *fakeViews) set(v *View) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.changed)
	f.view, f.changed = v, make(chan struct{})
}

func TestProve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeViews{view: &View{Reason: "the node is starting"}, changed: make(chan struct{})}
		var mu sync.Mutex
		var told []string
		progress := func(text string) { mu.Lock(); defer mu.Unlock(); told = append(told, text) }
		done := make(chan error, 1)
		go func() { done <- Prove(t.Context(), ProveConfig{Monitor: f, Progress: progress}) }()
		for i := range 6 {
			time.Sleep(500 * ms)
			synctest.Wait()
			now := time.Now()
			f.set(healthy(chain.Block{Slot: chain.SlotAt(now.UnixMilli()), Num: uint32(i + 1)}, now))
			synctest.Wait()
			if i < 5 && len(done) != 0 {
				t.Fatal("proved too early", <-done)
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := strings.Join(told, ", "); got != "the node is starting, block 0 of 5, block 1 of 5, block 2 of 5, block 3 of 5, block 4 of 5, block 5 of 5" {
			t.Error(got)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // nothing comes any more
		defer cancel()
		err := Prove(ctx, ProveConfig{Monitor: f, Best: func() chain.Block { return chain.Block{} }})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no block for 30s: the chain stands still at #6") {
			t.Error(err)
		}
	})
}
