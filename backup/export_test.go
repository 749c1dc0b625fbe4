package backup

// SetPass bounds how many entries a check holds in memory.
func (r *Repository) SetPass(n int) { r.pass = n }

// SumOf is the sum of an object in hex.
func SumOf(b []byte) string { return sumOf(b).String() }
