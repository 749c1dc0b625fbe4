// Package binaries builds programs of this module for the tests that start real processes. It has no other task.
package binaries

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Main is the body of a TestMain: it builds programs (folders of the module, such as cmd/roundtable) into a new folder,
// whose name it puts into dir before any test runs, removes the folder after the tests, and returns the code to exit with.
//
// They are built without the race detector: it would slow down what is measured; the packages' own tests run with it.
func Main(m *testing.M, dir *string, programs ...string) int {
	into, err := os.MkdirTemp("", "roundtable-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(into) }()
	args := []string{"build", "-o", into}
	for _, p := range programs {
		args = append(args, "roundtable/"+p)
	}
	build := exec.Command("go", args...) //nolint:noctx // as long as the tests have; the go command bounds that
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v: %v\n%s", build, err, out)
		return 1
	}
	*dir = into
	return m.Run()
}
