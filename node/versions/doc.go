// Package versions owns the versions of nodeos that a manager has in its home, and says which of them is to run:
//
//	HOME/versions/genesis/run.toml         the first one: without a binary of its own, it is config.toml's node.path
//	HOME/versions/<tag>/run.toml           what to run: binaries, arguments, lines of config.ini, sidecars
//	HOME/current -> versions/<tag>         swapped by rename(2), so that it leads somewhere at every moment
//	HOME/downloads/<tag>/                  what is being fetched; it goes on where it was cut off
//
// It fetches versions from files, URLs and releases, and lets nothing in that does not have its checksum, leaves its folder,
// or does not say its tag when asked. A version is seen only when it is whole. `current` is a cache: what a member is to run
// stands in the cluster's state.
//
// It knows nothing of raft, of leases or of a running node: it starts no process (Config.Version does, to ask a binary for
// its version), stops none, and changes no version that is there. It never shows a token or the query of a URL.
//
// Read home.go first (the folder), then run.go (run.toml) and stage.go (how a version comes in).
package versions
