package gate

// Without takes one of the gate's guards away, so that a test can show what its absence breaks.
func (g *Gate) Without(guard string) {
	switch guard {
	case "range":
		g.off.noRange = true
	case "epoch":
		g.off.noEpoch = true
	case "highest":
		g.off.noHighest = true
	case "record before sign":
		g.off.lateRecord = true
	case "drain in handler":
		g.off.noDrain = true
	case "finality of close":
		g.off.noFinality = true
	case "packet trust":
		g.off.noTrust = true
	case "":
	default:
		panic("no such guard: " + guard)
	}
}
