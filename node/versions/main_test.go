package versions

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(killAt) != "" {
		killed() // a process of kill_test.go: it does not return
	}
	goleak.VerifyTestMain(m)
}
