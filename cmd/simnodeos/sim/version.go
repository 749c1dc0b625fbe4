package sim

import (
	"crypto/sha1" //nolint:gosec // a name for a build, nothing rests on it
	"encoding/hex"
	"strings"
)

// What a build may set with -ldflags "-X roundtable/cmd/simnodeos/sim.Version=v1.2.3": builds that differ in nothing else are
// what a test of upgrades wants.
var (
	// Version is what --version, get_info and the log say.
	Version = recordedVersion

	// Args, blank-separated, come before the command line's: a build with a fault of its own ("--sim-never-sync").
	Args = ""
)

const (
	recordedVersion = "v1.2.2"
	recordedCommit  = "04bdb089edc7e3c3f954e0aab4a7f3cb48635788"
)

// commit is the recorded one for the recorded version, and a made-up one for any other.
func commit() string {
	if Version == recordedVersion {
		return recordedCommit
	}
	sum := sha1.Sum([]byte(Version)) //nolint:gosec // as above
	return hex.EncodeToString(sum[:])
}

func fullVersion() string { return Version + "-" + commit() }

// builtIn puts the build's own arguments before the others.
func builtIn(args []string) []string { return append(strings.Fields(Args), args...) }
