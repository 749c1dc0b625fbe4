package sim

import (
	"errors"
	"strconv"
	"time"
)

// exitCode ends the process with a code and no more words.
type exitCode int

func (c exitCode) Error() string { return "exit code " + strconv.Itoa(int(c)) }

// exitAtStart is the fault of a build, or a configuration, that cannot run (--sim-exit-at-start): nil, or how it ends.
func (o *options) exitAtStart() error {
	const name = "sim-exit-at-start"
	if !o.set(name) {
		return nil
	}
	switch code := o.num(name); code {
	case 254:
		for _, s := range o.settings {
			if s.name == name && s.cli {
				return initializeError(248, "Unknown option '%s' passed as command line argument", "--"+name)
			}
		}
		return initializeError(324, "Unknown option '%s' inside the config file %s", name, o.configFile)
	case 1, 2:
		return &chainError{exit: int(code)}
	default:
		return exitCode(code)
	}
}

// exitAfter is the fault of a build that does not last (--sim-exit-after). On the main thread.
func (n *Node) exitAfter(d time.Duration) {
	if d > 0 {
		time.AfterFunc(d, func() {
			n.post(func() {
				n.log.raw("Caught application loop exception: \"sim-exit-after\"\n")
				n.fail(errors.New("sim-exit-after"))
			})
		})
	}
}
