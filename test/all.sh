#!/usr/bin/env bash
# All tests; the arguments, say -race, go to `go test` where they are of use. Those of real processes mostly wait: what only computes runs beside them,
# at the lowest priority, so that it takes what they leave of the processors.
set -euo pipefail
cd "$(dirname "$0")/.."
export ROUNDTABLE_PROGRAMS="$PWD/bin"
# Without tables for a debugger: half the time to link. Without vet: lint has it.
options=(-count=1 -timeout 20m -ldflags '-s -w' -vet=off)
# What has no goroutines of its own has no races: the state machine, and texts. The world in virtual time is slow with the detector, which looks at
# a part of it.
alone=(./chain ./fsm/... ./test/mutation ./test/sim)
# Those that wait the most come first, while the others are compiled.
waiting=(./cluster ./node ./manager ./backup)
# Those that take the longest come last, when nothing is compiled any more (they are slow where the disk is), the longest of them first, and such that no
# two start many processes at once. They drive programs that are built without the detector.
drivers=(./test ./test/operations ./test/observe ./test/drills ./test/docs ./test/backup)
mapfile -t others < <(go list ./... | grep -vxF -f <(go list "${drivers[@]}" "${alone[@]}" "${waiting[@]}"))
{
	failed=0
	CGO_ENABLED=0 nice -n 19 go test "${options[@]}" -p 1 "${alone[@]}" || failed=1 # as the programs were built, so that nothing is compiled twice
	[ $# = 0 ] || nice -n 19 go test "${options[@]}" "$@" -run 'Seeds|Schedules' ./test/sim || failed=1
	exit $failed
} &
beside=$!
trap 'kill $beside 2>/dev/null || true' EXIT
failed=0
go test "${options[@]}" "$@" -p 3 "${waiting[@]}" "${others[@]}" || failed=1
CGO_ENABLED=0 go test "${options[@]}" "${drivers[@]}" || failed=1
wait $beside || failed=1
trap - EXIT
exit $failed
