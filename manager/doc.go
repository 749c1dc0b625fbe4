// Package manager puts one manager together: its node, gate, raft member, controllers and API, opened in order and closed
// by a named stack in the reverse one.
//
// It owns lifecycle and the small adapters between packages that must not know each other; it decides nothing. Read
// manager.go first.
package manager
