package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/raft"
)

// A raft group's id is drawn at its founding: "HEX/FOUNDER". A recovery (recover.go) draws another one, so that what is left of
// the old group and the new one do not speak to each other: "HEX.N.HEX/SURVIVOR", the N-th recovery of the group whose founding
// drew the second HEX. It ends in the founder's id, so that a founding that was interrupted is told from a member that was
// added and has no entry yet: only the former is taken up again.

// groupKey is where it stands in the stable store.
var groupKey = []byte("roundtable/group")

// recoveringKey holds something there while a recovery is under way.
var recoveringKey = []byte("roundtable/recovering")

// foundedGroup draws the id of a new group.
func foundedGroup(founder string) string { return drawnHex() + "/" + founder }

// recoveredGroup draws the id under which a survivor goes on with a group.
func recoveredGroup(old, survivor string) string {
	origin, n, _ := lineage(old)
	return fmt.Sprintf("%s.%d.%s/%s", drawnHex(), n+1, origin, survivor)
}

func drawnHex() string {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails: crypto/rand aborts the program instead
	return hex.EncodeToString(id[:])
}

// lineage says which founding a group goes back to, and how many recoveries ago. ok is false for what is no group's id.
func lineage(group string) (origin string, recoveries int, ok bool) {
	id, _, ok := strings.Cut(group, "/")
	parts := strings.Split(id, ".")
	if len(parts) != 3 {
		return id, 0, ok && len(parts) == 1 && id != ""
	}
	n, err := strconv.Atoi(parts[1])
	return parts[2], n, ok && err == nil && n > 0 && parts[2] != ""
}

// supersedes reports whether a group took the place of ours: it comes of the same founding by more recoveries, or by as many
// where two survivors were recovered by mistake; of those one must go, and it does not matter which.
func supersedes(theirs, ours string) bool {
	origin, n, ok := lineage(theirs)
	ourOrigin, m, ourOK := lineage(ours)
	if !ok || !ourOK || origin != ourOrigin || theirs == ours {
		return false
	}
	return n > m || n == m && n > 0 && theirs > ours
}

// ErrSuperseded says that the cluster went on without this member, by a recovery.
var ErrSuperseded = errors.New("the cluster was recovered without this member")

// storedText reads a text from the stable store; "" where there is none.
func storedText(s raft.StableStore, key []byte) (string, error) {
	b, err := s.Get(key)
	if err != nil && err.Error() != "not found" { // raft's own way to tell: the stores share no sentinel
		return "", err
	}
	return string(b), nil
}
