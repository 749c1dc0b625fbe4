package baseline

import "time"

// advert is what a VRRP master sends to its peers every interval. Priority 0 says goodbye.
type advert struct {
	ID       string `json:"id"`
	Priority int    `json:"priority"`
}

// role is a VRRP state.
type role string

const (
	backup role = "backup"
	master role = "master"
	fault  role = "fault" // the health check fails: neither elected nor electing
)

// vrrp is the state machine of RFC 5798, section 6.4, with preemption off, as one runs it where a change costs something:
// a member that comes back does not take over from a lower priority. It does no I/O and reads no clock.
type vrrp struct {
	id       string
	priority int
	interval time.Duration

	role   role
	master string    // whom the last advert was from
	next   time.Time // backup: Master_Down_Timer; master: Adver_Timer
}

func newVRRP(id string, priority int, interval time.Duration, now time.Time) *vrrp {
	v := &vrrp{id: id, priority: priority, interval: interval, role: backup}
	v.next = now.Add(v.down())
	return v
}

// skew is Skew_Time: the higher the priority, the earlier a backup takes over.
func (v *vrrp) skew() time.Duration { return v.interval * time.Duration(256-v.priority) / 256 }

// down is Master_Down_Interval.
func (v *vrrp) down() time.Duration { return 3*v.interval + v.skew() }

// receive takes an advert; true if one of ours is to be sent.
func (v *vrrp) receive(a advert, now time.Time) (send bool) {
	switch v.role {
	case backup:
		if a.Priority == 0 {
			v.next = now.Add(v.skew())
			return false
		}
		v.master, v.next = a.ID, now.Add(v.down())
	case master:
		switch {
		case a.Priority == 0:
			v.next = now.Add(v.interval)
			return true
		case a.Priority > v.priority || a.Priority == v.priority && a.ID > v.id:
			v.role, v.master, v.next = backup, a.ID, now.Add(v.down())
		}
	case fault:
		if a.Priority > 0 {
			v.master = a.ID
		}
	}
	return false
}

// tick lets time pass; true if an advert is to be sent.
func (v *vrrp) tick(now time.Time) (send bool) {
	if v.role == fault || now.Before(v.next) {
		return false
	}
	v.become(now)
	return true
}

// become makes this member the master; it is to send an advert.
func (v *vrrp) become(now time.Time) {
	v.role, v.master, v.next = master, v.id, now.Add(v.interval)
}

// resign makes a master a backup again.
func (v *vrrp) resign(now time.Time) {
	v.role, v.master, v.next = backup, "", now.Add(v.down())
}

// health takes the verdict of the check; true if goodbye is to be sent.
func (v *vrrp) health(well bool, now time.Time) (goodbye bool) {
	switch {
	case !well && v.role != fault:
		goodbye = v.role == master
		v.role, v.master = fault, ""
	case well && v.role == fault:
		v.resign(now)
	}
	return goodbye
}

// check is a health check with fall 2 and rise 2.
type check struct {
	well bool
	row  int // answers in a row that contradict well
}

// add counts an answer and reports whether the verdict has changed.
func (c *check) add(good bool) (changed bool) {
	if good == c.well {
		c.row = 0
		return false
	}
	if c.row++; c.row < 2 {
		return false
	}
	c.well, c.row = good, 0
	return true
}
