// Package security holds what members and operators know each other by: the cluster's CA, the members' certificates and
// their renewal, tokens, invites, and the strings that join a member to a cluster.
//
// It owns the files below a home's tls folder and the TLS configurations made from them. It decides nothing about roles,
// and never prints a key, a token or an invite. What it checks is by the CA and by the member's id: host names matter to
// operators' browsers and tools alone, since members move between addresses.
//
// Read ca.go first (what a certificate says), then keeper.go (how a running manager uses and renews its own).
package security
