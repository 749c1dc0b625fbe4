package api

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"time"

	"roundtable/cluster/control"
	"roundtable/fsm"
)

// backupRequest is the body of POST /cluster/backup.
type backupRequest struct {
	Kind       string `json:"kind"`       // data, snapshot
	Member     string `json:"member"`     // "": the best fit standby
	Repository string `json:"repository"` // "": the one that backup.repository in config.toml says
	Keep       string `json:"keep"`       // for so long; "": by the repository's retention alone
	Limit      string `json:"limit"`      // that a step may take; "": as configured
	Queue      string `json:"queue"`      // to wait so long for another one; "": be refused then
}

// restoreRequest is the body of POST /cluster/backups/:id/restore.
type restoreRequest struct {
	Member string `json:"member"` // whose node's data is replaced
	Limit  string `json:"limit"`
	Queue  string `json:"queue"`
}

// verifyRequest is the body of POST /cluster/backups/:id/verify.
type verifyRequest struct {
	Member string `json:"member"`
	Trial  bool   `json:"trial"` // a node is started on it, in a scratch folder
	Limit  string `json:"limit"`
	Queue  string `json:"queue"`
}

// sweepRequest is the body of POST /cluster/backups/sweep.
type sweepRequest struct {
	Repository string `json:"repository"`
	Member     string `json:"member"`
	Unknown    bool   `json:"unknown"` // what the catalogue does not know is removed as well: takes the role admin
	Limit      string `json:"limit"`
	Queue      string `json:"queue"`
}

// scanRequest is the body of POST /cluster/backups/scan.
type scanRequest struct {
	Repository string `json:"repository"`
	Member     string `json:"member"`
	Limit      string `json:"limit"`
	Queue      string `json:"queue"`
}

// Bounds of a request on a backup.
const (
	maxTask = fsm.MaxTask * time.Millisecond
	maxKeep = 3650 * day
)

// repositoryPattern is what a repository may be called: config.toml's [backup.repositories.NAME] says it too.
var repositoryPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// taskAsked is what all requests on backups have in common, as it was understood.
type taskAsked struct {
	repository         string
	keep, limit, queue time.Duration
}

// asked checks it. Whatever was mistyped must not get into the log.
func (s *Server) asked(repository, member, keep, limit, queue string) (t taskAsked, err error) {
	if t.repository = repository; repository != "" && !repositoryPattern.MatchString(repository) {
		return t, badInput("as config.toml calls it: [backup.repositories.NAME]", `"repository" cannot be %.64q`, repository)
	}
	if member != "" {
		if err := s.known(member); err != nil {
			return t, err
		}
	}
	if t.keep, err = lengthOf("keep", keep, minTTL, maxKeep); err != nil {
		return t, err
	}
	if t.limit, err = lengthOf("limit", limit, minLimit, maxTask); err != nil {
		return t, err
	}
	t.queue, err = lengthOf("queue", queue, minLimit, maxQueue)
	return t, err
}

func (s *Server) postBackup(r *http.Request) (answer, error) {
	var body backupRequest
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if !slices.Contains(backupKinds, body.Kind) {
		return answer{}, badInput("data is blocks and state, for which the node is stopped for a while; snapshot is a chain snapshot, which it makes while it runs", `"kind" must be data or snapshot, not %.32q`, body.Kind)
	}
	t, err := s.asked(body.Repository, body.Member, body.Keep, body.Limit, body.Queue)
	if err != nil {
		return answer{}, err
	}
	return s.start(r, body, func(ctx context.Context, key string) (uint64, error) {
		return s.cfg.Control.Backup(ctx, control.BackupRequest{Copies: body.Kind, Member: body.Member, Repository: t.repository, Keep: t.keep, Limit: t.limit, Queue: t.queue}, key)
	})
}

func (s *Server) postRestore(r *http.Request) (answer, error) {
	var body restoreRequest
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	b, err := s.backup(r.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	if body.Member == "" {
		return answer{}, badInput(`such as {"member":"m2"}: its node is stopped and its data moved aside`, `"member" must be given: whose node gets the backup`)
	}
	t, err := s.asked("", body.Member, "", body.Limit, body.Queue)
	if err != nil {
		return answer{}, err
	}
	return s.start(r, body, func(ctx context.Context, key string) (uint64, error) {
		return s.cfg.Control.Restore(ctx, control.RestoreRequest{Backup: b.ID, Member: body.Member, Limit: t.limit, Queue: t.queue}, key)
	})
}

func (s *Server) postVerify(r *http.Request) (answer, error) {
	var body verifyRequest
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	b, err := s.backup(r.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	t, err := s.asked("", body.Member, "", body.Limit, body.Queue)
	if err != nil {
		return answer{}, err
	}
	return s.start(r, body, func(ctx context.Context, key string) (uint64, error) {
		return s.cfg.Control.Verify(ctx, control.VerifyRequest{Backup: b.ID, Member: body.Member, Trial: body.Trial, Limit: t.limit, Queue: t.queue}, key)
	})
}

func (s *Server) postSweep(r *http.Request) (answer, error) {
	var body sweepRequest
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	t, err := s.asked(body.Repository, body.Member, "", body.Limit, body.Queue)
	if err == nil && body.Unknown {
		err = authorize(callOf(r).who, Admin)
	}
	if err != nil {
		return answer{}, err
	}
	return s.start(r, body, func(ctx context.Context, key string) (uint64, error) {
		return s.cfg.Control.Sweep(ctx, control.SweepRequest{Repository: t.repository, Member: body.Member, Unknown: body.Unknown, Limit: t.limit, Queue: t.queue}, key)
	})
}

func (s *Server) postScan(r *http.Request) (answer, error) {
	var body scanRequest
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	t, err := s.asked(body.Repository, body.Member, "", body.Limit, body.Queue)
	if err != nil {
		return answer{}, err
	}
	return s.start(r, body, func(ctx context.Context, key string) (uint64, error) {
		return s.cfg.Control.Scan(ctx, control.ScanRequest{Repository: t.repository, Member: body.Member, Limit: t.limit, Queue: t.queue}, key)
	})
}
