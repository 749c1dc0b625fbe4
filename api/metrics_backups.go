package api

import (
	"time"

	"roundtable/fsm"
)

// backups tells of the catalogue and of the plans, which every member knows.
func (c *collector) backups(v sight, out sample) {
	for _, b := range standings(v.state, v.now.UnixMilli()) {
		for _, state := range backupStates {
			out.put(famBackups, float64(b.states[state]), b.Repository, b.Kind, string(state))
		}
		out.put(famBackupLast, unixSeconds(b.last.Ended), b.Repository, b.Kind)
		out.put(famBackupVerified, unixSeconds(b.verified), b.Repository, b.Kind)
		out.put(famBackupStored, float64(b.Stored), b.Repository, b.Kind)
		if b.Last == "" {
			continue
		}
		for what, bytes := range map[string]int64{"size": b.last.Of.Size, "data": b.last.Of.Data, "stored": b.last.Of.Stored} {
			out.put(famBackupBytes, float64(bytes), b.Repository, b.Kind, what)
		}
		out.put(famBackupSeconds, seconds(b.last.Created, b.last.Ended), b.Repository, b.Kind)
	}
	for _, id := range planIDs(v.state) {
		p := v.state.Plans[id]
		if !p.Disabled && p.Due != 0 {
			out.put(famPlanDue, unixSeconds(p.Due), id, p.Name)
		}
		out.put(famPlanFired, unixSeconds(p.Fired), id, p.Name)
		out.count(famPlanFirings, p.Count, id, p.Name)
		out.count(famPlanSkipped, p.Skipped, id, p.Name)
		out.mark(famPlanFailing, !p.Disabled && failing(v.state, p), id, p.Name)
	}
}

// unixSeconds are Unix milliseconds as Prometheus has times; 0 is never.
func unixSeconds(ms int64) float64 { return (time.Duration(ms) * time.Millisecond).Seconds() }

// succeeded is how many backups were done since this manager started.
func (p *past) succeeded() uint64 { return p.outcomes[[2]string{fsm.KindBackup, string(fsm.Done)}] }
