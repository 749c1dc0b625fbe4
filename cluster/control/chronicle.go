package control

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"roundtable/fsm"
	"roundtable/logkey"
)

// chronicle writes the history into this manager's log as it happens: what concerns this member, each line once. Every
// change of the lease, of a member, of an operation and of the cluster is a line of the history, so nobody else logs them.
//
// It begins with this process's own joining: what a restarted manager reads of its old log was logged when it happened.
type chronicle struct {
	*Manager
	log   *slog.Logger
	begun bool
	seen  uint64 // index of the last entry whose lines were looked at
}

// Name is the controller's.
func (*chronicle) Name() string { return "chronicle" }

// Reconcile logs the new lines.
func (c *chronicle) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	if !c.begun {
		if s.Members[c.id].Incarnation != c.incarnation {
			return 0, nil
		}
		c.begun, c.seen = true, beforeJoining(s, c.id)
	}
	for _, e := range newer(s.History, c.seen) {
		if !c.concerns(e) {
			continue
		}
		attrs := []slog.Attr{slog.String(logkey.Event, e.Kind), slog.Uint64(logkey.Index, e.Index), slog.String(logkey.By, e.By), slog.String(logkey.Subject, e.Subject), slog.String(logkey.Text, e.Text)}
		if e.Actor != "" {
			attrs = append(attrs, slog.String(logkey.Actor, e.Actor))
		}
		c.log.LogAttrs(ctx, levelOf(e), strings.ReplaceAll(e.Kind, ".", " "), attrs...)
	}
	c.seen = s.Index
	return 0, nil
}

// concerns reports whether a line belongs into this member's log: it is about it, it proposed it, or it is about all.
func (c *chronicle) concerns(e fsm.Event) bool {
	return e.Subject == c.id || e.By == c.id || strings.HasPrefix(e.Kind, "cluster.") || strings.HasPrefix(e.Kind, "alarm.")
}

// beforeJoining is the index before the entry by which a member's present incarnation joined; the newest one where the
// history does not reach back to it.
func beforeJoining(s *fsm.State, id string) uint64 {
	for i := len(s.History) - 1; i >= 0; i-- {
		if e := s.History[i]; e.Subject == id && (e.Kind == "member.joined" || e.Kind == "member.started") {
			return e.Index - 1
		}
	}
	return s.Index
}

// newer are the lines after an index; the history is in order.
func newer(history []fsm.Event, index uint64) []fsm.Event {
	i := len(history)
	for i > 0 && history[i-1].Index > index {
		i--
	}
	return history[i:]
}

// levelOf says how much a line of the history matters to who watches the log.
func levelOf(e fsm.Event) slog.Level {
	switch {
	case strings.HasPrefix(e.Kind, "alarm."):
		return slog.LevelError
	case e.Kind == "lease.released", e.Kind == "operation.failed", e.Kind == "operation.expired", e.Kind == "operation.fault", e.Kind == "round.missed", e.Kind == "backup.damaged":
		return slog.LevelWarn
	}
	return slog.LevelInfo
}
