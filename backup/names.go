package backup

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// Where objects are. Below packs/ and tables/ are folders by the id of the backup that wrote them.
const (
	formatName  = "format"
	packsAt     = "packs/"
	tablesAt    = "tables/"
	pendingAt   = "pending/"
	aheadAt     = "ahead/"
	manifestsAt = "manifests/"
	clockAt     = "clock/"

	// CheckAt is where store.Check writes: what it left, where nothing may be deleted, is no part of a repository.
	CheckAt = "check/"
)

func numbered(at, id string, number uint32) string { return fmt.Sprintf("%s%s/%08d", at, id, number) }

// numberOf reads a name that numbered has made.
func numberOf(name string) (at, id string, number uint32, ok bool) {
	folder, last := path.Split(name)
	for _, at := range []string{packsAt, tablesAt} {
		id, under := strings.CutPrefix(strings.TrimSuffix(folder, "/"), at)
		n, err := strconv.ParseUint(last, 10, 32)
		if under && err == nil && validID(id) == nil && numbered(at, id, uint32(n)) == name {
			return at, id, uint32(n), true
		}
	}
	return "", "", 0, false
}
