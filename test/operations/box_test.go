package operations

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"roundtable/drill"
	"roundtable/test/binaries"
	"roundtable/test/box"
)

// built is the folder of the programs under test.
var built string

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "5"); err != nil { // they mostly wait
		panic(err)
	}
	os.Exit(binaries.Main(m, &built, "cmd/roundtable", "cmd/simnodeos"))
}

// sandbox is a sandbox of real processes.
type sandbox struct{ *box.Box }

// layOut makes a sandbox that was not started.
func layOut(t *testing.T, o drill.Options) *sandbox {
	t.Helper()
	return &sandbox{box.New(t, built, o)}
}

// up starts the sandbox and waits until production runs.
func (b *sandbox) up() *sandbox {
	b.T.Helper()
	b.Up()
	return b
}

// in is the sandbox for a test within the test.
func (b *sandbox) in(t *testing.T) *sandbox { return &sandbox{b.In(t)} }

// tags is the version that each member's link leads to.
func (b *sandbox) tags() map[string]string {
	b.T.Helper()
	tags := map[string]string{}
	for _, m := range b.Members {
		target, err := os.Readlink(filepath.Join(m.Home, "current"))
		if err != nil {
			b.T.Fatal(err)
		}
		tags[m.ID] = filepath.Base(target)
	}
	return tags
}
