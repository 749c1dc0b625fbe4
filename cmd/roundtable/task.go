package main

import (
	"fmt"
	"strings"
	"time"

	"roundtable/api"
)

// onBackup reports that an operation is one on a backup.
func onBackup(o api.Operation) bool { return o.Repository != "" }

// stepped reports that an operation says how far each member is: a rolling one, or one on a backup.
func stepped(o api.Operation) bool { return len(o.Members) > 0 || onBackup(o) }

// taskAim says in a few words what an operation on a backup is to do.
func taskAim(o api.Operation) string {
	var text string
	switch o.Kind {
	case "backup":
		text = o.Copies
		if o.Member != "" {
			text += " of " + o.Member
		}
		text += " to " + o.Repository
	case "restore":
		text = o.Backup + " -> " + o.Member
		if o.Auto {
			text += ", by itself"
		}
	case "verify":
		text = o.Backup
		if o.Trial {
			text += ", with a node"
		}
	default:
		text = o.Repository
		if o.Unknown {
			text += ", the unknown too"
		}
	}
	if o.Plan != "" {
		text += ", plan " + o.Plan
	}
	return text
}

// taskLines say how far the step is, for a terminal.
func taskLines(o api.Operation) (lines []string) {
	if n := len(o.Steps); n > 0 {
		for _, p := range o.Steps[n-1].Parts {
			lines = append(lines, fmt.Sprintf("  %s  %s  %s  %s", o.Steps[n-1].Name, p.Member, bar(p.Percent), barText(p)))
		}
	}
	return lines
}

// taskResult is what a done operation on a backup brought about.
func taskResult(o api.Operation) string {
	text := ""
	switch o.Kind {
	case "backup", "verify":
		text = ": " + o.Backup
	case "restore":
		text = ": " + o.Backup + " -> " + o.Member
	}
	if n := len(o.Steps); n > 0 && len(o.Steps[n-1].Parts) == 1 && o.Steps[n-1].Parts[0].Text != "" {
		text += ": " + o.Steps[n-1].Parts[0].Text
	}
	return text
}

// standingLine says how the backups of one kind in one repository stand.
func standingLine(b api.BackupStanding) string {
	text := fmt.Sprintf("%s in %s: ", b.Kind, b.Repository)
	if b.Last == "" {
		text += "none good yet"
	} else {
		text += fmt.Sprintf("%s ago, %d good, %s stored", age(time.Duration(b.AgeSeconds*float64(time.Second))), b.Good, bytesOf(b.Stored))
		if b.Verified == "" {
			text += ", none verified"
		}
	}
	for _, g := range []struct {
		what string
		ids  []string
	}{{"being made", b.Running}, {"DAMAGED", b.Damaged}} {
		if len(g.ids) > 0 {
			text += ", " + g.what + ": " + strings.Join(g.ids, ", ")
		}
	}
	if b.Failed != "" {
		text += ", the newest failed"
	}
	return text
}
