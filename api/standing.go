package api

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"roundtable/fsm"
)

// BackupStanding is how the backups of one kind in one repository stand.
type BackupStanding struct {
	Repository string   `json:"repository"`
	Kind       string   `json:"kind"`                // data, snapshot
	Last       string   `json:"last,omitempty"`      // id of the newest good one
	LastAt     string   `json:"last_at,omitempty"`   // when that was done
	AgeSeconds float64  `json:"age_seconds"`         // of it; -1: there is none
	Verified   string   `json:"verified,omitempty"`  // when a good one was last found whole
	Good       int      `json:"good"`                // that could be restored
	Stored     int64    `json:"stored"`              // bytes that the good ones added to the repository
	Running    []string `json:"running,omitempty"`   // ids
	Damaged    []string `json:"damaged,omitempty"`   // ids
	Failed     string   `json:"failed,omitempty"`    // id of one that failed after the newest good one was made
	Fault      string   `json:"fault,omitempty"`     // why
	Operation  string   `json:"operation,omitempty"` // of that one
}

// backupStanding is a BackupStanding on its way, with what metrics want of it.
type backupStanding struct {
	BackupStanding
	last     fsm.Backup // zero: none
	verified int64
	states   map[fsm.BackupState]int
}

// standings looks at the catalogue, by repository and kind; and at what plans are to make, of which there may be none yet.
func standings(s *fsm.State, now int64) []*backupStanding {
	by := map[[2]string]*backupStanding{}
	of := func(repository, kind string) *backupStanding {
		v := by[[2]string{repository, kind}]
		if v == nil {
			v = &backupStanding{BackupStanding: BackupStanding{Repository: repository, Kind: kind, AgeSeconds: -1}, states: map[fsm.BackupState]int{}}
			by[[2]string{repository, kind}] = v
		}
		return v
	}
	for _, p := range s.Plans {
		if p.Name == fsm.KindBackup && !p.Disabled {
			of(p.Task.Repository, p.Task.Copies)
		}
	}
	for _, b := range newestFirst(s) {
		v := of(b.Repository, b.Copies)
		v.states[b.State]++
		switch b.State {
		case fsm.BackupDone:
			if v.Good++; v.Good == 1 {
				v.last = b
				v.Last, v.LastAt, v.AgeSeconds = b.ID, stamp(b.Ended), max(seconds(b.Ended, now), 0)
			}
			v.Stored += b.Of.Stored
			v.verified = max(v.verified, b.Verified)
		case fsm.BackupRunning:
			v.Running = append(v.Running, b.ID)
		case fsm.BackupDamaged:
			v.Damaged = append(v.Damaged, b.ID)
		case fsm.BackupFailed:
			if v.Good == 0 && v.Failed == "" {
				v.Failed, v.Fault = b.ID, b.Fault
				if b.Operation != 0 {
					v.Operation = strconv.FormatUint(b.Operation, 10)
				}
			}
		}
	}
	list := make([]*backupStanding, 0, len(by))
	for _, v := range by {
		v.Verified = stamp(v.verified)
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b *backupStanding) int {
		return cmp.Or(strings.Compare(a.Repository, b.Repository), strings.Compare(a.Kind, b.Kind))
	})
	return list
}

// backups are the standings as the overview has them.
func (v sight) backups() []BackupStanding {
	list := []BackupStanding{}
	for _, b := range standings(v.state, v.now.UnixMilli()) {
		list = append(list, b.BackupStanding)
	}
	return list
}

// backupNoun is what people call a backup of a kind.
func backupNoun(kind string) string {
	if kind == fsm.CopiesSnapshot {
		return "chain snapshot"
	}
	return "backup of the data"
}

// backupAlarms tell of backups that could not be relied on.
func (v sight) backupAlarms(say sayer) {
	told := map[string]bool{}
	for _, b := range standings(v.state, v.now.UnixMilli()) {
		for _, id := range b.Damaged {
			say("backup %s in repository %s is damaged: %s; no restore takes it; see: roundtable backup show %s", id, b.Repository, v.state.Backups[id].Fault, id)
		}
		if b.Failed != "" {
			told[b.Operation] = true
			since := "there is no good one"
			if b.Last != "" {
				since = "the last good one is of " + b.LastAt
			}
			say("the newest %s in repository %s failed: %s; %s; see: roundtable operations %s", backupNoun(b.Kind), b.Repository, cmp.Or(b.Fault, "nobody said why"), since, b.Operation)
		}
	}
	for _, id := range planIDs(v.state) {
		p := v.state.Plans[id]
		o, _ := v.state.Operation(p.Operation)
		name := strconv.FormatUint(p.Operation, 10)
		switch {
		case p.Disabled:
		case failing(v.state, p) && !told[name]:
			say("what plan %s does failed: %s; see: roundtable operations %s", id, o.Reason, name)
		case p.Due != 0 && v.now.UnixMilli()-p.Due > overdue.Milliseconds() && o.Outcome != fsm.Running:
			say("plan %s was due at %s and has not begun: %s", id, stamp(p.Due), cmp.Or(p.Why, "see: roundtable plan show "+id))
		}
	}
}

// overdue is how late a plan may be before that is told: a blackout or another operation may be in its way for a while.
const overdue = time.Hour

// failing reports that what a plan started last ended badly.
func failing(s *fsm.State, p fsm.Plan) bool {
	o, ok := s.Operation(p.Operation)
	return ok && (o.Outcome == fsm.Failed || o.Outcome == fsm.Expired)
}
