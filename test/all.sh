#!/usr/bin/env bash
# All tests; the arguments, say -race, go to `go test`. Those of real processes mostly wait: what only computes runs beside them, at the lowest
# priority, so that it takes what they leave of the processors.
set -euo pipefail
cd "$(dirname "$0")/.."
export ROUNDTABLE_PROGRAMS="$PWD/bin"
options=(-count=1 -timeout 20m -ldflags '-s -w') # without tables for a debugger: half the time to link
# What has no goroutines of its own has no races: the state machine, and texts. The world in virtual time is slow with the detector, which looks at
# a part of it.
mapfile -t alone < <(go list ./chain ./fsm/... ./test/mutation ./test/sim)
# Those that take the longest come last, when nothing is compiled any more (they are slow where the disk is), the longest of them first, and such that no
# two start many processes at once.
long=(./manager ./test ./test/backup ./test/docs ./test/operations ./test/drills ./test/observe)
mapfile -t others < <(go list ./... | grep -vxF -f <(go list "${long[@]}"; printf '%s\n' "${alone[@]}"))
{
	failed=0
	nice -n 19 go test "${options[@]}" -p 1 "${alone[@]}" || failed=1
	[ $# = 0 ] || nice -n 19 go test "${options[@]}" "$@" -run 'Seeds|Schedules' ./test/sim || failed=1
	exit $failed
} &
beside=$!
trap 'kill $beside 2>/dev/null || true' EXIT
failed=0
go test "${options[@]}" "$@" "${others[@]}" "${long[@]}" || failed=1
wait $beside || failed=1
trap - EXIT
exit $failed
