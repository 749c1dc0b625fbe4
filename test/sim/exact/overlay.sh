#!/bin/sh
# overlay.sh DIR writes an overlay for `go test -overlay DIR/overlay.json`: a Go runtime that leaves less to chance in
# synctest bubbles. The order of select and of timers of one instant comes from dice that begin anew with each bubble, the
# order of maps from the virtual time, and the processor is taken from nobody. For test/sim: a seed repeats further than
# with the runtime as it is. It fails where the runtime's source is not what it was written for (Go 1.26).
set -eu
dir=$1
src=$(go env GOROOT)/src/runtime
mkdir -p "$dir"

# change FILE FROM TO replaces exactly one place.
change() {
	[ -f "$dir/$1" ] || cp "$src/$1" "$dir/$1"
	[ "$(grep -cxF "$2" "$dir/$1")" = 1 ] || { echo "overlay.sh: $1 is not what it was written for" >&2; exit 1; }
	awk -v from="$2" -v to="$3" '$0 == from { print to; next } { print }' "$dir/$1" >"$dir/$1.new"
	mv "$dir/$1.new" "$dir/$1"
}

rm -f "$dir"/*.go
change rand.go 'func rand() uint64 {' 'func rand() uint64 {
	if b := getg().bubble; b != nil {
		return bubbleMix(uint64(b.now))
	}'
change select.go '		j := cheaprandn(uint32(norder + 1))' '		j := bubbleRandn(uint32(norder + 1))'
change time.go '			t.rand = cheaprand()' '			t.rand = bubbleRandn(1 << 31)'
change synctest.go '	bubble := &synctestBubble{' '	bubbleDice = 1
	bubble := &synctestBubble{'
change proc.go '			preemptone(pp)' '			if bubbleDice == 0 {
				preemptone(pp)
			}'
cat >>"$dir/rand.go" <<'GO'

// bubbleDice are the dice of the goroutines in bubbles: one at a time, on one processor.
var bubbleDice uint64

//go:nosplit
func bubbleMix(z uint64) uint64 { // splitmix64
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

//go:nosplit
func bubbleRandn(n uint32) uint32 {
	if getg().bubble == nil {
		return cheaprandn(n)
	}
	bubbleDice += 0x9e3779b97f4a7c15
	return uint32(bubbleMix(bubbleDice)>>33) % n
}
GO
{
	printf '{"Replace":{'
	comma=
	for f in rand select time synctest proc; do
		printf '%s"%s/%s.go":"%s/%s.go"' "$comma" "$src" "$f" "$dir" "$f"
		comma=,
	done
	printf '}}\n'
} >"$dir/overlay.json"
