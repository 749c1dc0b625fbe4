// Package gate is the only way a node's blocks get signed: it answers nodeos' KEOSD signature requests on a unix socket
// and gives a signature only for a slot that this manager's applied lease permits and that it never signed before.
//
// It owns the highest slot ever recorded, the finality of a closed epoch, the socket, and the reading end of nodeos'
// stdout (the one trusted source of the slot, [S5]). It never decides who may sign (Permit is told to it), never
// proposes anything, never starts or pauses a node, and imports no sibling but node/k1 and chain.
//
// The rules are those of "The gate" in the lease design; tags like [S1] name them. Read gate.go first (what is
// permitted, recorded and closed), then decide.go (one request's way), pipe.go and line.go (where the slot comes from),
// serve.go and request.go (the socket).
//
// Facts about nodeos come from recordings of nodeos 1.2.2 (fact numbers are their README's) and from Spring's
// libraries/libfc/src/log/console_appender.cpp and plugins/producer_plugin/producer_plugin.cpp.
package gate
