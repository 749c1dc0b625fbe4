// Package model holds an explicit-state model of the slot lease and its signing gates, as tests only.
//
// It owns nothing that runs. The lease part is the real fsm.State.Apply; the gate is a small abstraction of node/gate:
// what it checks, records, closes and forgets. The world around them is hostile: proposals are lost, duplicated, delayed
// and reordered; anyone proposes grants from a stale state, as every deposed leader may; members apply the log late and
// are frozen for as long as it takes (nothing in the model makes anyone take a step); managers crash and lose their
// memory; the signer answers late, after the gate gave up, closed or died. There is no clock at all.
//
// The invariant: no slot is signed twice. Each of the rules S1 to S4 of design/lease.md is a switch, and the tests show
// that without any one of them the invariant falls. Read world_test.go first, then explore_test.go.
package model
