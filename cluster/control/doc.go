// Package control holds the controllers of a manager: they read the applied state, compare it with the world, act, and
// propose the outcome. No effect is ever fired from applying an entry.
//
// Every controller is level-triggered: it reads the whole state, acts idempotently, and runs again on every change and on
// a timer, so that a missed wake-up, a restart or a new leader heals itself. What to do is decided by pure plan*
// functions (data in, data and a reason out); doing it is kept apart.
//
// The package never imports raft, the node or the gate: it states what it needs of them in world.go. Read lease.go (who
// may sign, decided by the leader) and production.go (how gate and node follow the applied lease) first.
package control
