// Package cluster owns the raft group and who is in it: it opens the log, proposes commands (forwarding them once to the
// leader), shows the applied state, runs code for the length of a leadership, finds the other managers by gossip, carries
// their health reports and keeps raft's configuration in step with who is there.
//
// It never decides about the lease, production or operations (package control does), never starts a process, and is the
// only package that imports hashicorp/raft. All decisions about the state itself are package fsm's.
//
// Read config.go (what it needs), cluster.go (opening and closing), then propose.go (one command's way). stream.go and
// hello.go hold the wire's outer layer, forward.go the one-hop forwarding, gossip.go the discovery, membership.go the
// leader's care of raft's configuration, canary.go the guard against a stalled disk.
package cluster
