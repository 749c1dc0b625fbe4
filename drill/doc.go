// Package drill proves the cluster: it runs a whole cluster of real processes on this machine, does to it what
// operations and faults do, and lets an independent checker count what was signed and what was missed.
//
// It owns the sandbox (sandbox.go), the scenarios (scenario.go), the checker (checker.go) and the report (report.go). The
// checker shares no code with the gate, nor with the chain's slot arithmetic: it reads the nodes' own ledgers and the chain
// that a node ends with. Everything listens on loopback only. What is between the members and can fail (network.go) is a wire
// of proxies in the drill's own process (wire.go), or, where root is there and asks for it, network namespaces and a bridge
// whose filter drops packets in the kernel (bridge.go, namespace.go): real TCP timers, nothing left behind. Read scenario.go
// first.
package drill
