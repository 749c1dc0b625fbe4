package gate

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"roundtable/chain"
)

// TestNothingIsSignedAfterClose: a node asks without a pause over the socket, and the applied state goes on saying that the
// lease is ours, as it does while a release is under way or after its answer was lost. What Close reported is the end [S1].
func TestNothingIsSignedAfterClose(t *testing.T) {
	var asked atomic.Uint64
	g := newGate(t, func(c *Config) { c.MaxAhead = 1 << 20 })
	n := openNode(t, g)
	stopServing := serveGate(t, g)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for num := uint32(2); ; num++ {
			select {
			case <-stop:
				return
			default:
			}
			n.announce(num, base+chain.Slot(num))
			if status, _ := exchange(t, g, nodeosRequest("x", digestOf(fmt.Sprint("d", num)), devPublic)); status == http.StatusCreated {
				n.say(returnedLine(num))
			} else {
				n.say(abortLine())
			}
			asked.Add(1)
		}
	}()
	for epoch := uint64(1); epoch <= 10; epoch++ {
		g.Permit(Permit{epoch, base, base + 1<<20})
		for g.Status().Last.Epoch != epoch { // until it signed something
			events := g.Events()
			if g.Status().Last.Epoch == epoch {
				break
			}
			<-events
		}
		last := g.Close(epoch)
		for last.Slot != 0 && !last.Given { // the signature under way is part of what Close reported
			events := g.Events()
			if last = g.Close(epoch); !last.Given {
				<-events
			}
		}
		for before := asked.Load(); asked.Load() < before+5; { // and the node goes on asking
			g.Permit(Permit{epoch, base, base + 1<<20 + chain.Slot(asked.Load())})
		}
		if now := g.Status().Last; now.Slot != last.Slot {
			t.Errorf("epoch %d was closed at slot %d, and slot %d was signed after that", epoch, last.Slot, now.Slot)
		}
	}
	close(stop)
	<-done
	stopServing()
}
