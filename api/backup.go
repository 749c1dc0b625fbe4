package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"roundtable/fsm"
)

// Backup is a backup in the catalogue. What it does not have yet is absent.
type Backup struct {
	ID          string          `json:"id"`
	Kind        string          `json:"kind"` // data, snapshot
	Repository  string          `json:"repository"`
	State       fsm.BackupState `json:"state"`
	Member      string          `json:"member,omitempty"`    // whose node it is of
	Operation   string          `json:"operation,omitempty"` // that made it; absent: it was found in the repository
	Plan        string          `json:"plan,omitempty"`
	Created     string          `json:"created"`
	Ended       string          `json:"ended,omitempty"`
	Seconds     float64         `json:"seconds"` // that it took, or has taken so far
	ChainID     string          `json:"chain_id,omitempty"`
	First       uint32          `json:"first,omitempty"` // the first block in blocks.log
	Head        uint32          `json:"head,omitempty"`
	HeadID      string          `json:"head_id,omitempty"`
	HeadAt      string          `json:"head_at,omitempty"`
	LIB         uint32          `json:"lib,omitempty"`
	NodeVersion string          `json:"node_version,omitempty"`
	Files       int64           `json:"files,omitempty"`
	Size        int64           `json:"size,omitempty"`   // bytes that its files seem to have
	Data        int64           `json:"data,omitempty"`   // without their holes
	Stored      int64           `json:"stored,omitempty"` // bytes that it added to the repository
	Manifest    string          `json:"manifest,omitempty"`
	Expires     string          `json:"expires,omitempty"` // absent: by the repository's retention alone
	Pinned      bool            `json:"pinned,omitempty"`
	Verified    string          `json:"verified,omitempty"` // when it was last found whole
	Trial       bool            `json:"trial,omitempty"`    // and a node came up on it
	Suspect     bool            `json:"suspect,omitempty"`  // it may share what was found damaged in another one: verify it
	Fault       string          `json:"fault,omitempty"`    // why it failed, or what is damaged
	Why         string          `json:"why,omitempty"`      // it expired
}

func viewBackup(b fsm.Backup, now int64) Backup {
	v := Backup{
		ID: b.ID, Kind: b.Copies, Repository: b.Repository, State: b.State, Member: b.Member, Plan: b.Plan, Created: stamp(b.Created), Ended: stamp(b.Ended),
		ChainID: b.Of.ChainID, First: b.Of.First, Head: b.Of.Head, HeadID: b.Of.HeadID, HeadAt: stamp(b.Of.HeadTime), LIB: b.Of.LIB, NodeVersion: b.Of.Version,
		Files: b.Of.Files, Size: b.Of.Size, Data: b.Of.Data, Stored: b.Of.Stored, Manifest: b.Of.Manifest,
		Expires: stamp(b.Expires), Pinned: b.Pinned, Verified: stamp(b.Verified), Trial: b.Trial, Suspect: b.Suspect, Fault: b.Fault, Why: b.Why,
	}
	if b.Operation != 0 {
		v.Operation = strconv.FormatUint(b.Operation, 10)
	}
	switch {
	case b.State == fsm.BackupRunning:
		v.Seconds = max(seconds(b.Created, now), 0)
	case b.Ended != 0:
		v.Seconds = seconds(b.Created, b.Ended)
	}
	return v
}

// newestFirst lists the catalogue.
func newestFirst(s *fsm.State) []fsm.Backup {
	list := make([]fsm.Backup, 0, len(s.Backups))
	for _, b := range s.Backups {
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b fsm.Backup) int {
		return cmp.Or(cmp.Compare(b.Created, a.Created), strings.Compare(b.ID, a.ID))
	})
	return list
}

// What a backup may be, for who filters.
var (
	backupKinds  = []string{fsm.CopiesData, fsm.CopiesSnapshot}
	backupStates = []fsm.BackupState{fsm.BackupRunning, fsm.BackupDone, fsm.BackupDamaged, fsm.BackupFailed, fsm.BackupExpired}
)

// getBackups lists the catalogue, newest first; the parameters of the query leave some out.
func (s *Server) getBackups(r *http.Request) (answer, error) {
	q := r.URL.Query()
	kind, state, repository, member := q.Get("kind"), fsm.BackupState(q.Get("state")), q.Get("repository"), q.Get("member")
	switch {
	case kind != "" && !slices.Contains(backupKinds, kind):
		return answer{}, badInput("such as ?kind=data", `"kind" must be data or snapshot, not %.32q`, kind)
	case state != "" && !slices.Contains(backupStates, state):
		return answer{}, badInput("such as ?state=done", `"state" must be running, done, damaged, failed or expired, not %.32q`, string(state))
	}
	now, list := s.cfg.Now().UnixMilli(), []Backup{}
	shared, _ := s.cfg.Cluster.View()
	for _, b := range newestFirst(shared) {
		if (kind == "" || b.Copies == kind) && (state == "" || b.State == state) && (repository == "" || b.Repository == repository) && (member == "" || b.Member == member) {
			list = append(list, viewBackup(b, now))
		}
	}
	return answer{body: list}, nil
}

func (s *Server) getBackup(r *http.Request) (answer, error) {
	b, err := s.backup(r.PathValue("id"))
	return answer{body: viewBackup(b, s.cfg.Now().UnixMilli())}, err
}

// backup finds one in the catalogue.
func (s *Server) backup(id string) (fsm.Backup, error) {
	state, _ := s.cfg.Cluster.View()
	b, ok := state.Backups[id]
	if !ok {
		return b, &Error{Status: http.StatusNotFound, Code: fsm.ErrNoBackup.Rule, Message: "no such backup: " + strconv.Quote(clipped(id)), Hint: fsm.ErrNoBackup.Hint}
	}
	return b, nil
}

// clipped is the beginning of what somebody typed.
func clipped(text string) string {
	if r := []rune(text); len(r) > 64 {
		return string(r[:64])
	}
	return text
}

// backupPatch is the body of PATCH /cluster/backups/:id. To keep a backup for longer takes the role operate; to let it go sooner, admin.
type backupPatch struct {
	Pinned  *bool   `json:"pinned"`
	Expires *string `json:"expires"` // a time, or a length of time from now; "": by the repository's retention alone
}

// BackupSet answers PATCH and DELETE of a backup.
type BackupSet struct {
	Index  uint64 `json:"index"`
	Backup Backup `json:"backup"`
}

func (s *Server) patchBackup(r *http.Request) (answer, error) {
	var body backupPatch
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	b, err := s.backup(r.PathValue("id"))
	switch {
	case err != nil:
		return answer{}, err
	case body == (backupPatch{}):
		return answer{}, badInput(fieldsHint(&body), "nothing to change is named")
	}
	c := fsm.SetBackup{ID: b.ID, Pinned: body.Pinned}
	if body.Expires != nil {
		at, err := s.moment("expires", *body.Expires)
		if err != nil {
			return answer{}, err
		}
		c.Expires = &at
	}
	sooner := c.Pinned != nil && !*c.Pinned && b.Pinned || c.Expires != nil && *c.Expires != 0 && (b.Expires == 0 || *c.Expires < b.Expires)
	if sooner {
		if err := authorize(callOf(r).who, Admin); err != nil {
			return answer{}, err
		}
	}
	return s.changeBackup(r, body, b.ID, func(ctx context.Context) error { return s.cfg.Control.SetBackup(ctx, c) })
}

// deleteBackup gives a backup up; the next sweep removes it. One that is given up already is no error.
func (s *Server) deleteBackup(r *http.Request) (answer, error) {
	b, err := s.backup(r.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	return s.changeBackup(r, nil, b.ID, func(ctx context.Context) error { return s.cfg.Control.ExpireBackup(ctx, b.ID, "by an operator") })
}

// changeBackup does what may be done again without a second effect, so that it needs no idempotency key of its own.
func (s *Server) changeBackup(r *http.Request, body any, id string, do func(context.Context) error) (answer, error) {
	index, err := s.changeState(r, body, do)
	if err != nil {
		return answer{}, err
	}
	state, _ := s.cfg.Cluster.View()
	return answer{body: BackupSet{index, viewBackup(state.Backups[id], s.cfg.Now().UnixMilli())}}, nil
}

// changeState is change for what is the same however often it is done; the index is that of the state in which it is so.
func (s *Server) changeState(r *http.Request, body any, do func(context.Context) error) (uint64, error) {
	return s.change(r, body, func(ctx context.Context, _ string) (uint64, error) {
		err := do(ctx)
		state, _ := s.cfg.Cluster.View()
		return state.Index, err
	})
}

// moment reads a time, or a length of time from now; 0 for "".
func (s *Server) moment(field, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil && at.UnixMilli() > 0 {
		return at.UnixMilli(), nil
	}
	d, err := length(text)
	if err != nil || d <= 0 || d > maxKeep {
		return 0, badInput("such as 30d, or 2027-01-31T00:00:00Z", "%q must be a time, or a length of time up to 3650d, not %.32q", field, text)
	}
	return s.cfg.Now().Add(d).UnixMilli(), nil
}
