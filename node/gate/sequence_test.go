package gate

import (
	"strings"
	"testing"
)

// TestLineSequences is what nodeos may say before it asks, and what comes of it. The permit is epoch 1, base..base+9.
func TestLineSequences(t *testing.T) {
	s := func(lines ...string) []string {
		var packets []string
		for _, l := range lines {
			packets = append(packets, l, "\n")
		}
		return packets
	}
	start7, timer7 := startLine(7, base+1, "eosio"), timerLine(7)
	bare := strings.Split(start7, ", deadline")[0]
	for name, c := range map[string]struct {
		packets []string
		want    string
	}{
		"nothing":                   {nil, ReasonNoLine},
		"announced and due":         {s(start7, timer7), ""},
		"others in between":         {s(otherLine(), start7, otherLine(), timer7, otherLine()), ""},
		"without a deadline":        {s(bare, timer7), ""},
		"with a journal prefix":     {s("<7>"+start7, "<7>"+timer7), ""},
		"our other producer":        {s(startLine(7, base+1, "prodb"), timer7), ""},
		"not due":                   {s(start7), ReasonNoLine},
		"due without a start":       {s(timer7), ReasonNoLine},
		"another block is due":      {s(start7, timerLine(8)), ReasonStaleLine},
		"no block is due":           {s(start7, timerLine(0)), ReasonStaleLine},
		"due twice":                 {s(start7, timer7, timer7), ReasonStaleLine},
		"aborted":                   {s(start7, timer7, abortLine()), ReasonStaleLine},
		"aborted before due":        {s(start7, abortLine(), timer7), ReasonStaleLine},
		"returned":                  {s(start7, timer7, returnedLine(7)), ReasonStaleLine},
		"the last block returned":   {s(start7, returnedLine(6), timer7), ""},
		"a new start":               {s(start7, timer7, startLine(8, base+2, "eosio")), ReasonNoLine},
		"a new start, due":          {s(start7, timer7, startLine(8, base+2, "eosio"), timerLine(8)), ""},
		"a start not understood":    {s(start7, timer7, logged("debug", "nodeos", "producer_plugin.cpp", 1, "start_block", "Starting block at noon")), ReasonStaleLine},
		"theirs":                    {s(startLine(7, base+1, "prodc"), timer7), ReasonNotOurs},
		"first slot of the lease":   {s(startLine(7, base, "eosio"), timer7), ""},
		"below the lease":           {s(startLine(7, base-1, "eosio"), timer7), ReasonOutOfRange},
		"last slot of the lease":    {s(startLine(7, base+9, "eosio"), timer7), ""},
		"beyond the lease":          {s(startLine(7, base+10, "eosio"), timer7), ReasonOutOfRange},
		"12 ahead":                  {s(startLine(7, base+12, "eosio"), timer7), ReasonOutOfRange},
		"13 ahead":                  {s(startLine(7, base+13, "eosio"), timer7), ReasonTooFarAhead},
		"not a whole slot":          {s(strings.Replace(start7, "02.500", "02.501", 1), timer7), ReasonNoLine},
		"info level":                {s("info  "+start7[6:], timer7), ReasonNoLine},
		"another thread":            {s(strings.Replace(start7, "nodeos   ", "net-0    ", 1), timer7), ReasonNoLine},
		"another file":              {s(strings.Replace(start7, "producer_plugin.cpp:2086 ", "net_plugin.cpp:2086      ", 1), timer7), ReasonNoLine},
		"another function":          {s(strings.Replace(start7, "start_block         ", "handle_message      ", 1), timer7), ReasonNoLine},
		"text after it":             {s(start7+" x", timer7), ReasonNoLine},
		"text before it":            {s(" "+start7, timer7), ReasonNoLine},
		"one write":                 {[]string{start7 + "\n", timer7 + "\n"}, ReasonNoLine},
		"no newline before":         {[]string{otherLine(), start7, "\n", timer7, "\n"}, ReasonNoLine},
		"no newline after":          {[]string{start7, "\n", timer7}, ReasonNoLine},
		"split":                     {[]string{start7[:100], start7[100:], "\n", timer7, "\n"}, ReasonNoLine},
		"newline of another":        {append(s(start7, timer7), "\n"), ReasonStaleLine},
		"two texts mixed":           {append(s(start7, timer7), otherLine(), otherLine(), "\n", "\n"), ReasonStaleLine},
		"a text with a newline end": {append(s(start7, timer7), s("odd\n")...), ReasonStaleLine},
		"sound again after that":    {append(s("odd\n", "x"), s(start7, timer7)...), ""},
		"a number too large":        {s(strings.Replace(start7, "#7 ", "#4294967303 ", 1), timer7), ReasonNoLine},
		"a leading zero":            {s(strings.Replace(start7, "#7 ", "#07 ", 1), timer7), ReasonNoLine},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, nil)
			n := openNode(t, g)
			g.Permit(Permit{1, base, base + 9})
			n.raw(c.packets...)
			if got := n.ask("digest"); got != c.want {
				t.Errorf("refused %q, want %q", got, c.want)
			}
		})
	}
}

// TestForgedLine: text that a peer or a user chose, however it is cut into packets, does not move the gate [S5].
func TestForgedLine(t *testing.T) {
	forged := startLine(9, base+3, "eosio") + "\n" + timerLine(9)
	head := logged("debug", "nodeos", "producer_plugin.cpp", 3000, "on_incoming_block", "")
	pad := func(n int) string { return head + strings.Repeat("x", n-len(head)) }
	for name, text := range map[string]string{
		"after a newline":            head + "\n" + forged,
		"after two newlines":         head + "\n\n" + forged + "\n\n",
		"at a packet's start":        pad(4096) + forged,
		"newline at a packet's end":  pad(4095) + "\n" + forged,
		"newline at a packet's head": pad(4096) + "\n" + forged,
		"a packet of one newline":    pad(4096) + "\n",
		"a packet of newlines":       pad(4096) + strings.Repeat("\n", 4096) + forged,
		"exactly one packet":         pad(4096),
		"exactly two packets":        pad(8192),
		"ends in a newline":          head + "\n" + forged + "\n",
		"a start in one packet":      pad(4096) + startLine(9, base+3, "eosio"),
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, nil)
			n := openNode(t, g)
			g.Permit(Permit{1, base, base + 9})
			n.say(text)
			if got := n.ask("forged"); got != ReasonNoLine {
				t.Fatalf("a forged line alone: %q", got)
			}
			n.announce(7, base+1) // a real one, and then the forgery
			n.say(text)
			n.ask("d") // signs block 7 or is refused because the text is odd
			if st := g.Status(); st.Highest > base+1 || st.Block.Num == 9 {
				t.Fatalf("the forged line moved the gate: %+v", st)
			}
			n.announce(8, base+2) // and what comes after is trusted again
			if got := n.ask("after"); got != "" {
				t.Fatalf("after the forgery: %q", got)
			}
		})
	}
}

func TestFramerGivesWholeTexts(t *testing.T) {
	lines := make(chan string, 16)
	g := newGate(t, func(c *Config) { c.OnLine = func(l []byte) { lines <- string(l) } })
	n := openNode(t, g)
	texts := []string{"one", strings.Repeat("y", 4096), strings.Repeat("z", 10000), "two\nlines", "end"}
	n.say(texts...)
	for _, want := range texts {
		if got := <-lines; got != want {
			t.Fatalf("a line of %d bytes became %d bytes", len(want), len(got))
		}
	}
}

func FuzzParseLine(f *testing.F) {
	for _, s := range []string{startLine(7, base, "eosio"), timerLine(7), abortLine(), returnedLine(7), otherLine(), "", "<7>" + timerLine(1)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l := parseLine(s)
		if l.kind != lineStart {
			return
		}
		// Whatever is understood as a start is, but for unimportant parts, what nodeos prints for that start.
		want := startLine(l.num, l.slot, l.producer)
		_, got, _ := strings.Cut(s, "debug ")
		got = "debug " + got
		if got[headMethod:headEnd] != want[headMethod:headEnd] || !strings.HasPrefix(got[headLen:], strings.Split(want[headLen:], ", deadline")[0]) {
			t.Fatalf("%q is understood as %+v", s, l)
		}
	})
}

func FuzzFramer(f *testing.F) {
	f.Add([]byte("abc\x00\n\x00def\x00\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var fr framer
		last := "\n"
		for _, p := range strings.Split(string(b), "\x00") {
			if p == "" {
				continue
			}
			begun := !fr.open
			_, trusted, done, _ := fr.feed([]byte(p))
			if begun && fr.open && last != "\n" {
				t.Fatal("a text begins without a newline before it")
			}
			if done && trusted && (p != "\n" || last == "\n") {
				t.Fatal("a trusted text that is not one packet and its newline")
			}
			last = p
		}
	})
}
