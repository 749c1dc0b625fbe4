package control

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"roundtable/fsm"
)

// stuck is a controller that hangs in its second turn until it is let go.
type stuck struct {
	turns int
	free  chan struct{}
}

func (*stuck) Name() string { return "stuck" }

func (s *stuck) Reconcile(context.Context, *fsm.State) (time.Duration, error) {
	if s.turns++; s.turns == 2 {
		<-s.free
	}
	return 0, nil
}

func TestAControllerThatHangsIsFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewManager(Config{Record: fsm.Member{ID: "m1"}, Cluster: newGroup(fsm.New(), nil)})
		ctx, cancel := context.WithCancel(t.Context())
		s, ended := &stuck{free: make(chan struct{})}, make(chan struct{})
		go func() {
			defer close(ended)
			m.run(ctx, s)
		}()
		time.Sleep(resync / 2)
		if name, silent := m.Slowest(); name != "stuck" || silent > resync {
			t.Errorf("after its first turn: %q has been silent for %v", name, silent)
		}
		time.Sleep(time.Minute)
		if name, silent := m.Slowest(); name != "stuck" || silent < 50*time.Second {
			t.Errorf("it hangs for a minute: %q has been silent for %v", name, silent)
		}
		close(s.free)
		time.Sleep(time.Minute)
		if name, silent := m.Slowest(); name != "stuck" || silent > resync {
			t.Errorf("it goes on: %q has been silent for %v", name, silent)
		}
		cancel()
		<-ended
		time.Sleep(time.Minute)
		if name, _ := m.Slowest(); name != "" {
			t.Errorf("%q is still waited for after its end", name)
		}
	})
}
