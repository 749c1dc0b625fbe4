package baseline

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"roundtable/test/binaries"
)

// built is the folder of the programs.
var built string

func TestMain(m *testing.M) {
	code := binaries.Main(m, &built, "cmd/simnodeos", "test/baseline/cmd/baseline")
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
