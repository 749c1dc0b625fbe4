package drill

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"
)

// busy keeps every core of the machine busy with processes that compete with the cluster's as equals.
var busy = fault{name: "load", least: 30 * time.Second, most: 30 * time.Second, draw: plain(
	func(d *drill, _ context.Context, _ *Member) error {
		for range runtime.NumCPU() {
			p, err := startProcess(nil, "/bin/sh", []string{"-c", "while :; do :; done"}, d.Dir, filepath.Join(d.Dir, "load.log"), nil)
			if err != nil {
				return errors.Join(fmt.Errorf("drill: load: %w", err), d.calm())
			}
			d.load = append(d.load, p)
		}
		return nil
	},
	func(d *drill, _ context.Context, _ *Member) error { return d.calm() })}

// calm ends the load.
func (d *drill) calm() (err error) {
	for _, p := range d.load {
		err = errors.Join(err, p.kill())
	}
	d.load = nil
	return err
}
