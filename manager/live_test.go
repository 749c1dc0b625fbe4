package manager

import (
	"slices"
	"strings"
	"testing"

	"roundtable/fsm"
)

func TestRoleInWords(t *testing.T) {
	lease := fsm.Lease{Epoch: 7, Holder: "m1", Incarnation: "aa"}
	released := lease
	released.Released = true
	members := map[string]fsm.Member{"m1": {ID: "m1"}, "m2": {ID: "m2"}, "w1": {ID: "w1", Witness: true}}
	for _, c := range []struct {
		id, incarnation string
		lease           fsm.Lease
		want            string
	}{
		{"m1", "aa", lease, "holder of epoch 7"},
		{"m1", "bb", lease, "standby; m1 holds epoch 7"}, // the lease is the former process's
		{"m2", "cc", lease, "standby; m1 holds epoch 7"},
		{"m2", "cc", released, "standby; nobody holds the lease"},
		{"m2", "cc", fsm.Lease{}, "standby; nobody holds the lease"},
		{"w1", "dd", lease, "witness; m1 holds epoch 7"},
		{"m9", "ee", lease, "not a member yet"},
	} {
		if got := role(&fsm.State{Members: members, Lease: c.lease}, c.id, c.incarnation); got != c.want {
			t.Errorf("%s with %+v: %q, want %q", c.id, c.lease, got, c.want)
		}
	}
}

// TestNodeosGetsNoneOfOurEnvironment: a token, say, that an operator gave this program.
func TestNodeosGetsNoneOfOurEnvironment(t *testing.T) {
	env := nodeEnv([]string{"PATH=/usr/bin", "ROUNDTABLE_TOKEN=rt1_x", "NOTIFY_SOCKET=/run/n", "WATCHDOG_USEC=1", "WATCHDOG_PID=2", "JOURNAL_STREAM=8:9", "HOME=/h"}, map[string]string{"B": "2", "A": "1"})
	if want := []string{"PATH=/usr/bin", "HOME=/h", "A=1", "B=2"}; !slices.Equal(env, want) {
		t.Errorf("%s, want %s", strings.Join(env, " "), strings.Join(want, " "))
	}
}
