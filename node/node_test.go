package node

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is also the program of the helper processes: a fake nodeos and a manager (helper_test.go).
func TestMain(m *testing.M) {
	if role := os.Getenv("NODE_TEST_ROLE"); role != "" {
		os.Exit(helper(role))
	}
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil { // the helpers' exits would all take a second
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
