// Package node owns one local nodeos: its data directory's lock, its process, its log, its HTTP API as seen from this
// manager, and its config.ini and logging.json.
//
// It knows nothing of raft, leases or other members: it imports no sibling but leaves such as roundtable/chain (its own
// sub-packages node/gate, node/k1 and node/versions stand beside it, and are not imported either). It never unpauses a node: every start
// is paused (`-x`), and only a controller calls Client.Resume. It never deletes chain data; at the worst it moves a state
// directory aside. It never logs a private key.
//
// Read supervisor.go first (the process; program.go and sidecar.go say what it is and what runs beside it), then pipeline.go (its
// log), monitor.go (the chain as the node tells it), proof.go (whether it is back after a start) and build.go (its
// configuration). "FACT n" in comments is the numbered list of what was recorded from a
// real nodeos 1.2.2 (excerpts in testdata/); names like b-logs or c-http/11 are recordings of that collection.
package node
