package gate

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"roundtable/chain"
)

// model is what the gate should know, written anew and simply.
type model struct {
	permit         Permit
	newest, closed uint64
	highest        chain.Slot
	signed         map[chain.Slot]string // slot -> digest
	epochs         map[uint64]chain.Slot // epoch -> highest slot recorded in it
	phase          string
	num            uint32
	slot           chain.Slot
	producer       string
	digest         string // recorded for the announced block
}

func (m *model) allows(digest string, clock chain.Slot) bool {
	if m.permit.Epoch == 0 || m.permit.Epoch <= m.closed || m.phase != "armed" || m.producer != "eosio" || m.slot > clock+12 {
		return false
	}
	if m.slot < m.permit.First || m.slot > m.permit.Last {
		return false
	}
	if m.digest != "" {
		return m.digest == digest
	}
	return m.slot > m.highest
}

// TestGateAgainstModel throws arbitrary lines, requests, permits and closes at a gate.
func TestGateAgainstModel(t *testing.T) {
	signer := newKeys(t, devPrivate, secondWIF)
	rapid.Check(t, func(rt *rapid.T) {
		now := start
		g := newGate(t, func(c *Config) { c.Signer, c.Now = signer, nil })
		g.cfg.Now = func() time.Time { return now }
		m := &model{signed: map[chain.Slot]string{}, epochs: map[uint64]chain.Slot{}}
		n := openNode(t, g)
		defer func() { _ = n.out.Close() }()
		slots := rapid.Custom(func(t *rapid.T) chain.Slot { return base + chain.Slot(rapid.IntRange(0, 16).Draw(t, "slot")) - 2 })
		settle := func() { // the clock may move only when nobody reads it
			g.mu.Lock()
			g.drain(g.run, drainMost)
			g.mu.Unlock()
		}
		void := func() {
			if m.phase != "" {
				m.phase = "void"
			}
		}
		ask := func(digest, key string) {
			may := m.allows(digest, chain.SlotAt(now.UnixMilli()))
			got := n.ask(digest, key)
			if may != (got == "") {
				rt.Fatalf("refused %q, the model says %v: %+v", got, may, m)
			}
			if got != "" {
				return
			}
			if before, ok := m.signed[m.slot]; ok && before != digest {
				rt.Fatalf("slot %d signed twice: %s and %s", m.slot, before, digest)
			}
			m.signed[m.slot], m.digest, m.highest = digest, digest, max(m.highest, m.slot)
			m.epochs[m.permit.Epoch] = m.slot
		}
		rt.Repeat(map[string]func(*rapid.T){
			"start": func(t *rapid.T) {
				m.num++
				m.slot, m.phase, m.digest = slots.Draw(t, "slot"), "started", ""
				m.producer = rapid.SampledFrom([]string{"eosio", "eosio", "eosio", "other"}).Draw(t, "producer")
				n.say(startLine(m.num, m.slot, m.producer))
			},
			"timer": func(t *rapid.T) {
				num := m.num + uint32(rapid.SampledFrom([]int{0, 0, 0, 0, 1}).Draw(t, "off"))
				if m.phase == "started" && num == m.num {
					m.phase = "armed"
				} else {
					void()
				}
				n.say(timerLine(num))
			},
			"block": func(t *rapid.T) { // the usual case, for depth
				m.num++
				m.slot, m.phase, m.digest, m.producer = slots.Draw(t, "slot"), "armed", "", "eosio"
				n.announce(m.num, m.slot)
				ask(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "digest"), devPublic)
			},
			"end": func(t *rapid.T) {
				void()
				n.say(rapid.SampledFrom([]string{abortLine(), returnedLine(m.num)}).Draw(t, "line"))
			},
			"forge": func(t *rapid.T) {
				forged := startLine(m.num, slots.Draw(t, "slot"), "eosio") + "\n" + timerLine(m.num)
				head := logged("debug", "nodeos", "producer_plugin.cpp", 1, "f", "")
				fill := rapid.SampledFrom([]int{0, 4095, 4096, 8192}).Draw(t, "fill")
				n.say(head + strings.Repeat("\n", max(0, fill-len(head))) + "\n" + forged)
			},
			"odd": func(t *rapid.T) {
				void()
				n.raw(rapid.SampledFrom([]string{"\n", "x\n"}).Draw(t, "packet"))
				n.say("x") // whatever was open is closed now
				settle()
				if g.run.frame.open {
					rt.Fatal("a text is still open")
				}
			},
			"request": func(t *rapid.T) {
				ask(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "digest"), rapid.SampledFrom(signer.names).Draw(t, "key"))
			},
			"permit": func(t *rapid.T) {
				p := Permit{Epoch: rapid.Uint64Range(0, 4).Draw(t, "epoch"), First: slots.Draw(t, "first"), Last: slots.Draw(t, "last")}
				if p.Epoch == 0 {
					p = Permit{}
				}
				if p.Epoch == 0 || p.Epoch >= m.newest {
					m.permit, m.newest = p, max(m.newest, p.Epoch)
				}
				g.Permit(p)
			},
			"close": func(t *rapid.T) {
				epoch := rapid.Uint64Range(0, 3).Draw(t, "epoch")
				m.closed = max(m.closed, epoch)
				if got := g.Close(epoch); got.Slot != m.epochs[epoch] {
					rt.Fatalf("Close(%d) reports slot %d, recorded was %d", epoch, got.Slot, m.epochs[epoch])
				}
			},
			"clock": func(t *rapid.T) {
				settle()
				now = now.Add(time.Duration(rapid.IntRange(-2, 4).Draw(t, "slots")) * 500 * time.Millisecond)
			},
			"restart": func(*rapid.T) {
				_ = n.out.Close()
				n = openNode(t, g)
				m.phase, m.num, m.slot, m.digest = "", 0, 0, ""
			},
			"": func(*rapid.T) {
				if st := g.Status(); st.Highest != m.highest {
					rt.Fatalf("highest %d, want %d", st.Highest, m.highest)
				}
			},
		})
	})
}

// TestRandomPackets: no cut of forged text into packets, short of real line framing, gets a signature beyond what real
// lines announced.
func TestRandomPackets(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := newGate(t, nil)
		n := openNode(t, g)
		defer func() { _ = n.out.Close() }()
		g.Permit(Permit{1, base, base + 9})
		piece := rapid.SampledFrom([]string{"\n", "\n\n", "x", startLine(9, base+3, "eosio"), timerLine(9), strings.Repeat("y", 4095), strings.Repeat("\n", 100)})
		for i := range rapid.IntRange(1, 4).Draw(rt, "texts") {
			// Each text is one write, whatever it holds, and begins with the head of its own line.
			text := logged("info", "net-0", "net_plugin.cpp", 1, "f", strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(rt, "text"), ""))
			n.say(text)
			if got := n.ask(fmt.Sprint("d", i)); got == "" {
				rt.Fatalf("text %q got a signature", text)
			}
		}
	})
}
