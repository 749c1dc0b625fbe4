package sim

import (
	"time"

	"roundtable/chain"
	moved "roundtable/clock"
)

const (
	slotDuration = chain.SlotMillis * time.Millisecond
	timeLayout   = "2006-01-02T15:04:05.000"
)

// clock is the machine's clock moved by --sim-clock-offset, and by whoever writes --sim-clock-file.
type clock struct {
	offset time.Duration
	moved  *moved.Clock // nil without a file
}

func (c clock) now() time.Time { return time.Now().Add(c.offset + c.moved.Shift()) }

// real turns a time of this clock into one of the machine's, as the clock stands now.
func (c clock) real(t time.Time) time.Time { return t.Add(-c.offset - c.moved.Shift()) }

// clockOf is the clock that the options ask for.
func clockOf(o *options) (clock, error) {
	c := clock{offset: o.duration("sim-clock-offset")}
	if path := o.get("sim-clock-file"); path != "" {
		var err error
		if c.moved, err = moved.Open(path); err != nil {
			return c, err
		}
	}
	return c, nil
}

func formatTime(t time.Time) string { return t.UTC().Format(timeLayout) }

func formatMillis(ms int64) string { return formatTime(time.UnixMilli(ms)) }

func slotStart(slot uint32) time.Time { return time.UnixMilli(chain.Slot(slot).UnixMilli()) }

// stall blocks the calling thread, as work or a slow disk would.
func stall(d time.Duration) { <-time.After(d) }

// nextSlot is the first slot after t, as block_timestamp(t).next() has it.
func nextSlot(t time.Time) uint32 { return uint32(chain.SlotAt(t.UnixMilli())) + 1 }
