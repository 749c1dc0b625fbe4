package clock

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Synchronised reports whether the kernel knows that something (chrony, ntpd, systemd-timesyncd, a hypervisor's daemon) keeps the
// machine's clock right. false says only that the kernel was not told so.
func Synchronised() (bool, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t) // without modes it changes nothing, and anybody may ask
	if err != nil {
		return false, fmt.Errorf("clock: adjtimex: %w", err)
	}
	return synchronised(state, t.Status), nil
}

func synchronised(state int, status int32) bool {
	return state != unix.TIME_ERROR && status&unix.STA_UNSYNC == 0
}
