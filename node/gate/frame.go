package gate

// maxText bounds how much of one log text is kept for OnLine.
const maxText = 64 << 10

// pipeBuf is the size of a full packet: only a text longer than that continues in the next one.
const pipeBuf = 4096

// framer turns the packets of nodeos' stdout into log texts and says which may be trusted.
//
// nodeos writes each text and its "\n" as two writes (console_appender.cpp: print, flush, newline, flush), and an
// O_DIRECT pipe keeps writes apart. So the stream is (text "\n")*, where a text longer than 4096 bytes takes several
// packets, all full but the last. A text whose bytes contain newlines, however forged, cannot begin a packet after a
// packet of exactly "\n" [S5]. Anything that does not fit this grammar (two threads' writes mixed, a text that ends
// with a newline, a wrapped stdout) puts the current announcement in doubt: it is voided, which costs a slot at most.
type framer struct {
	open    bool // a text has begun and its newline has not come
	trusted bool // the open text is one packet and nothing odd happened since
	full    bool // the last packet was full: the next one continues it
	text    []byte
}

// feed takes one packet. done: a text is complete (valid until the next feed) and whether it is a trusted line.
// odd: the packet does not fit the grammar.
func (f *framer) feed(p []byte) (text []byte, trusted, done, odd bool) {
	if len(p) == 1 && p[0] == '\n' {
		f.full = false
		if !f.open {
			return nil, false, false, true // a newline without a text
		}
		f.open = false
		return f.text, f.trusted, true, false
	}
	full := len(p)%pipeBuf == 0
	switch {
	case !f.open:
		f.open, f.trusted, f.text = true, !full, f.text[:0] // not open: the last packet was a newline, or there was none
	case f.full:
		f.trusted = false // a long text goes on
	default:
		f.trusted, odd = false, true // a text follows a text
	}
	if p[len(p)-1] == '\n' && !full {
		f.trusted, odd = false, true
	}
	f.full = full
	if room := maxText - len(f.text); room > 0 {
		f.text = append(f.text, p[:min(len(p), room)]...)
	}
	return nil, false, false, odd
}
