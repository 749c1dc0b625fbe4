package control

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/adhocore/gronx"

	"roundtable/chain"
	"roundtable/fsm"
)

// NextDue is when a plan that comes by time is due next after a moment: of one that comes every so often in the rhythm that it has, else
// one such time after that moment; of one by a cron expression in UTC. The jitter comes on top (FiresAt). It is pure.
func NextDue(p fsm.Plan, after time.Time) (time.Time, error) {
	every := time.Duration(p.Every) * time.Millisecond
	switch {
	case p.Every > 0 && p.Due == 0:
		return after.Add(every), nil
	case p.Every > 0:
		due := time.UnixMilli(p.Due)
		if !after.Before(due) {
			due = due.Add((after.Sub(due)/every + 1) * every)
		}
		return due, nil
	case p.Cron == "":
		return time.Time{}, noPlan("it comes by blocks, not by time")
	case len(strings.Fields(p.Cron)) != 5:
		return time.Time{}, noPlan(fmt.Sprintf("cron %q has not five fields: minute, hour, day of the month, month, day of the week", p.Cron))
	case !gronx.IsValid(p.Cron):
		return time.Time{}, noPlan(fmt.Sprintf("cron %q is not understood", p.Cron))
	}
	due := after.UTC()
	for due.Before(after.AddDate(cronYears, 0, 0)) {
		var err error
		if due, err = gronx.NextTickAfter(p.Cron, due, false); err != nil {
			return time.Time{}, noPlan(fmt.Sprintf("cron %q: %v", p.Cron, err))
		}
		// In a month that is too short for the day gronx 1.20 gives a day of the next one.
		if is, err := gronx.New().IsDue(p.Cron, due); err == nil && is {
			return due.UTC(), nil
		}
	}
	return time.Time{}, noPlan(fmt.Sprintf("cron %q is never due", p.Cron))
}

// cronYears is how far ahead a plan may be due: the 29th of February comes every eight years at least.
const cronYears = 9

// noPlan is the refusal of a plan that cannot be so.
func noPlan(reason string) error {
	return &fsm.Refusal{Rule: fsm.ErrPlan.Rule, Message: fsm.ErrPlan.Message + ": " + reason, Hint: fsm.ErrPlan.Hint}
}

// FiresAt is when a plan that comes by time fires at the earliest: when it is due, and by its jitter later. That is the same for whoever
// leads.
func FiresAt(p fsm.Plan) time.Time {
	return time.UnixMilli(p.Due).Add(time.Duration(jitter(p.ID, p.Due, p.Jitter)) * time.Millisecond)
}

// jitter is a number from 0 to most, always the same of a plan and when it is due.
func jitter(id string, due, most int64) int64 {
	if most <= 0 {
		return 0
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", id, due))
	return int64(binary.BigEndian.Uint64(sum[:8]) % uint64(most+1)) //nolint:gosec // G115: less than most
}

// dueness is where a plan stands at a moment.
type dueness struct {
	due    bool // it is
	again  bool // it is due the next time already
	missed bool // it is too late for it
	what   string
	next   int64 // when it is due next: ms
	block  uint32
}

// planStanding says where a plan stands; by blocks head counts, 0 for one that is not known.
func planStanding(p fsm.Plan, now time.Time, head uint32) (dueness, error) {
	if p.Blocks != 0 {
		fires := uint64(p.DueBlock) + uint64(jitter(p.ID, int64(p.DueBlock), p.Jitter/chain.SlotMillis)) //nolint:gosec // G115: it is not negative
		h := uint64(head)
		next := uint64(p.DueBlock) + uint64(p.Blocks)
		d := dueness{due: h >= fires && head != 0, again: h >= next, what: fmt.Sprintf("block %d", p.DueBlock)}
		d.missed = late(d, p, int64(h)-int64(fires), chain.SlotMillis) //nolint:gosec // G115: blocks
		if h >= next {
			next += (h - next + uint64(p.Blocks)) / uint64(p.Blocks) * uint64(p.Blocks)
		}
		if next > 1<<32-1 {
			return d, noPlan("its next block is beyond the last number there is")
		}
		d.block = uint32(next) //nolint:gosec // G115: checked
		return d, nil
	}
	due := time.UnixMilli(p.Due)
	follows, err := NextDue(p, due)
	if err != nil {
		return dueness{}, err
	}
	fires := FiresAt(p)
	d := dueness{due: !now.Before(fires), again: !now.Before(follows), what: due.UTC().Format(time.RFC3339)}
	d.missed = late(d, p, now.Sub(fires).Milliseconds(), 1)
	if d.again {
		if follows, err = NextDue(p, now); err != nil {
			return dueness{}, err
		}
	}
	d.next = follows.UnixMilli()
	return d, nil
}

// late reports whether a plan is too late: by so many units of so many ms.
func late(d dueness, p fsm.Plan, by, unit int64) bool {
	if p.Late > 0 {
		return by > p.Late/unit
	}
	return d.again
}
