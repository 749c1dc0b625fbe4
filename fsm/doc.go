// Package fsm is the replicated state of a Roundtable cluster and the rules by which it changes.
//
// It owns the truth that every member must agree on: who the members are, the slot lease, the production round, the
// operations under way and the bounded history. It is pure: no clock, no I/O, no goroutine, no randomness; a test
// keeps it so. Whoever proposes an entry stamps its time and draws its ids before it is proposed.
//
// Read lease.go first: it holds the rules on which "no slot is ever signed twice" rests (design/lease.md). Then state.go
// (what is kept), command.go (how an entry is encoded and applied), operation.go (the frame of every long operation).
package fsm
