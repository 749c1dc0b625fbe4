// Command simnodeos is a TEST DOUBLE of nodeos (AntelopeIO Spring v1.2.2) and a demo chain. It behaves as the recordings of
// a real nodeos show: command line and config.ini, logging.json, log lines, HTTP answers, exit codes, files on disk,
// timing of production, requests to its signature provider. It executes no contracts, holds nothing of value and speaks a p2p
// protocol of its own. The logic is in package sim; read node.go there first, then producer.go.
//
// Everything nodeos accepts is accepted; what has no meaning here is ignored. The double's own knobs, as flags or config.ini keys:
//
//	--sim-ledger FILE          append-only JSON lines {slot,num,id,digest,node,signed_at}, one per block signed; written after
//	                           the signature is there and before the block is sent; node is the agent-name
//	--sim-schedule N|A,B,...   1 to 21 producers: 1 is "eosio", N > 1 is prodaaaa, prodbbbb, ...; or names. The same on all nodes
//	--sim-keys NAME=PUB[+PUB]  block signing keys of one producer, any one suffices (default: the genesis key); repeatable; the same on all nodes
//	--sim-lib-lag N            with one producer: irreversible is head - N, not head - 1. One producer alone makes its own blocks
//	                           irreversible at once: cut off, it would part from the others for good
//	--sim-savanna              digest = block id (so its first four bytes are the height), irreversible = head - 2
//	--sim-trx-rate N           made-up transactions per second (default 20); 0 makes idle, deterministic blocks
//	--sim-full-blocks          every block is full after 20 ms: a window's slots are produced up to 12 ahead of the clock
//	--sim-p2p-latency D        one-way delay of every p2p message that this node sends (both nodes want it for a symmetric link)
//	--sim-p2p-loss P           probability that a block broadcast gets lost
//	--sim-p2p-reconnect D      cycle on which lost peers are tried again (default 30s, as nodeos)
//	--sim-partition-file FILE  links cut at present, read every 50 ms: lines "AGENT [in|out]", "*" for everybody. A cut link
//	                           holds messages back until it heals, as TCP does; 60 s of silence end the connection
//	--sim-control              serve POST /sim/cut and /sim/heal (body "AGENT [in|out]"), /sim/hang (body a duration: block the main
//	                           thread), /sim/exit (end as by SIGKILL) on the HTTP address
//	--sim-clock-offset D       move this node's clock
//	--sim-clock-file FILE      move it while it runs: a file of package clock, which a drill writes
//	--sim-slow-start D         more time before HTTP comes up
//	--sim-feature-file FILE    protocol features that are active: lines "CODENAME [BLOCK]" (default block 2), active from that height on
//	--sim-table FILE           rows of get_table_rows: lines {"code":"c","scope":"s","table":"t","key":"1","row":{...}}, without a row
//	                           just the table. Both files are read at each request and may be missing until then
//	--sim-block-bytes N        random bytes in each block of this node, so that blocks.log grows under load
//	--sim-state-mb N           MiB of data in the state (default 1), spread over its sparse file of chain-state-db-size-mb
//	--sim-state-churn N        KiB of that data which each block changes in place (default 32)
//	--sim-finalizer            keep finalizers/safety.dat, as a node with a BLS key does; it holds the last block, nobody votes
//	--sim-exit-at-start CODE   end at once; 254 as for a wrong option, 1 and 2 as for a full and a dirty state database
//	--sim-exit-after D         end by itself D after HTTP came up, as for an exception: exit code 254, the state is written
//	--sim-never-sync           answer, but take no block from peers
//	--sim-version V            what --version, get_info and the log say: another version for a script that starts this one
//	--sim-calibration D        the calibration that delays every start of nodeos (default 550ms)
//
// A build says its version and may have arguments of its own, which come before the command line's:
//
//	go build -ldflags "-X roundtable/cmd/simnodeos/sim.Version=v1.2.3 -X 'roundtable/cmd/simnodeos/sim.Args=--sim-never-sync'"
//
// Its data directory is nodeos': the same files, of formats of its own but for their names, the first bytes of blocks.log and
// blocks.index, with the same answers to what is missing, cut off, damaged or mixed up (package sim: blocklog.go, state.go, load.go say what
// of it is recorded). A copy of it, complete or in one of the sets that nodeos can come back from, starts elsewhere and syncs.
//
// Not imitated: deep-mind and the state history, real transactions, finalizer votes, setprods.
package main
