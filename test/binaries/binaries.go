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
// They are built without the race detector: it would slow down what is measured; the packages' own tests run with it. Where
// ROUNDTABLE_PROGRAMS names a folder it has them already: `make test` builds them once for all packages, right before.
func Main(m *testing.M, dir *string, programs ...string) int {
	const given = "ROUNDTABLE_PROGRAMS"
	if *dir = os.Getenv(given); *dir != "" {
		_ = os.Unsetenv(given) // it is not for the programs, which take names like it for their configuration
		return m.Run()
	}
	into, err := os.MkdirTemp("", "roundtable-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(into) }()
	args := []string{"build", "-ldflags", "-s -w", "-o", into}
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
