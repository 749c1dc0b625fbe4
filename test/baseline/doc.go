// Package baseline is the usual ways of keeping one producer running on many machines, to put Roundtable beside them:
// "leader" resumes nodeos where a raft leader is and pauses it elsewhere; "keepalived" lets VRRP adverts and a health check
// decide. nodeos holds the key in both, and what keeps a standby from signing is that it is paused. The drills run them as
// they run Roundtable (drill/baseline.go).
//
// They are written as a careful producer would write them: short timeouts, a node that dies with its manager, planned
// handoffs that wait for the last block. What they lose is due to the pattern. The package shares no code with the product.
// Read run.go first, then leader.go and keepalived.go.
package baseline
