package clock

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestSynchronised(t *testing.T) {
	for _, c := range []struct {
		state  int
		status int32
		want   bool
	}{
		{unix.TIME_OK, unix.STA_PLL, true},
		{unix.TIME_INS, unix.STA_PLL | unix.STA_INS, true}, // a leap second comes
		{unix.TIME_ERROR, unix.STA_UNSYNC, false},
		{unix.TIME_ERROR, unix.STA_PLL, false},
		{unix.TIME_OK, unix.STA_PLL | unix.STA_UNSYNC, false},
	} {
		if got := synchronised(c.state, c.status); got != c.want {
			t.Errorf("state %d, status %#x: %v", c.state, c.status, got)
		}
	}
	if _, err := Synchronised(); err != nil { // whatever it says of this machine
		t.Error(err)
	}
}
