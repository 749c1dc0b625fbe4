// Package docs holds the documentation to the program: links and anchors lead somewhere, files and commands that are named
// exist, every alert and every error code is explained, and the quickstart is run as it stands. Read pages_test.go first.
package docs

import (
	"os"
	"testing"

	"roundtable/test/binaries"
)

// built is the folder of the programs.
var built string

func TestMain(m *testing.M) {
	os.Exit(binaries.Main(m, &built, "cmd/roundtable", "cmd/simnodeos"))
}
