package drill

import (
	"net"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// TestAPortThatWasLookedAtIsFree: sandboxes of other lanes start processes while one looks for its ports.
func TestAPortThatWasLookedAtIsFree(t *testing.T) {
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	over := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					if err := exec.Command("/bin/true").Run(); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	defer wg.Wait()
	defer close(over)
	for range 400 {
		if !listens("tcp", "127.0.0.1", port) {
			t.Fatal("the port is not free")
		}
		syscall.ForkLock.RLock()
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			err = l.Close()
		}
		syscall.ForkLock.RUnlock() // this socket is not what is tried
		if err != nil {
			t.Fatal(err)
		}
	}
}
