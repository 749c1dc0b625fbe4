package api

import (
	"context"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"roundtable/fsm"
)

// Plan is an operation on backups that comes again and again: what it does, when, and how it went.
type Plan struct {
	ID         string `json:"id"`
	Action     string `json:"action"`         // backup, verify, sweep
	Kind       string `json:"kind,omitempty"` // of a backup: data, snapshot
	Repository string `json:"repository"`
	Member     string `json:"member,omitempty"` // who does it; absent: whoever is fit
	Keep       string `json:"keep,omitempty"`   // of a backup
	Trial      bool   `json:"trial,omitempty"`
	Unknown    bool   `json:"unknown,omitempty"`
	Limit      string `json:"limit,omitempty"` // that a step may take
	Every      string `json:"every,omitempty"`
	Cron       string `json:"cron,omitempty"` // five fields, UTC
	Blocks     uint32 `json:"blocks,omitempty"`
	Jitter     string `json:"jitter,omitempty"`
	Blackout   string `json:"blackout,omitempty"` // before and after our windows, where the schedule leaves such a gap
	Missed     string `json:"missed"`             // catch up, skip
	Late       string `json:"late,omitempty"`     // after which it counts as missed; absent: when it is due again
	Tries      int    `json:"tries"`              // how often one that failed is tried again
	Disabled   bool   `json:"disabled"`

	Due       string      `json:"due,omitempty"` // next
	DueBlock  uint32      `json:"due_block,omitempty"`
	Fired     string      `json:"fired,omitempty"`     // the last time
	Operation string      `json:"operation,omitempty"` // that it started last
	Outcome   fsm.Outcome `json:"outcome,omitempty"`   // of that one; absent: it is forgotten
	Reason    string      `json:"reason,omitempty"`
	Try       int         `json:"try,omitempty"` // how often that one was tried again
	Count     uint64      `json:"count"`         // of firings
	Skipped   uint64      `json:"skipped"`
	Why       string      `json:"why,omitempty"` // the last one was skipped
	Actor     string      `json:"actor,omitempty"`
}

// The values of Plan.Missed.
const (
	CatchUp  = "catch up"
	SkipLate = "skip"
)

// planActions are what a plan may do.
var planActions = []string{fsm.KindBackup, fsm.KindVerify, fsm.KindSweep}

func viewPlan(s *fsm.State, p fsm.Plan) Plan {
	t := p.Task
	v := Plan{
		ID: p.ID, Action: p.Name, Kind: t.Copies, Repository: t.Repository, Member: t.Member, Keep: lengthText(t.Keep), Trial: t.Trial, Unknown: t.Unknown, Limit: lengthText(t.Limit),
		Every: lengthText(p.Every), Cron: p.Cron, Blocks: p.Blocks, Jitter: lengthText(p.Jitter), Blackout: lengthText(p.Blackout), Missed: SkipLate, Late: lengthText(p.Late),
		Tries: p.Tries, Disabled: p.Disabled, Fired: stamp(p.Fired), Try: p.Try, Count: p.Count, Skipped: p.Skipped, Why: p.Why, Actor: p.Actor,
	}
	if p.CatchUp {
		v.Missed = CatchUp
	}
	if !p.Disabled {
		v.Due, v.DueBlock = stamp(p.Due), p.DueBlock
	}
	if p.Operation != 0 {
		v.Operation = strconv.FormatUint(p.Operation, 10)
		o, _ := s.Operation(p.Operation)
		v.Outcome, v.Reason = o.Outcome, o.Reason
	}
	return v
}

// planIDs are the plans in the order of their names.
func planIDs(s *fsm.State) []string { return slices.Sorted(maps.Keys(s.Plans)) }

func (s *Server) getPlans(*http.Request) (answer, error) {
	state, _ := s.cfg.Cluster.View()
	list := []Plan{}
	for _, id := range planIDs(state) {
		list = append(list, viewPlan(state, state.Plans[id]))
	}
	return answer{body: list}, nil
}

func (s *Server) getPlan(r *http.Request) (answer, error) {
	state, p, err := s.plan(r.PathValue("id"))
	return answer{body: viewPlan(state, p)}, err
}

func (s *Server) plan(id string) (*fsm.State, fsm.Plan, error) {
	state, _ := s.cfg.Cluster.View()
	p, ok := state.Plans[id]
	if !ok {
		return state, p, &Error{Status: http.StatusNotFound, Code: fsm.ErrNoPlan.Rule, Message: "no such plan: " + strconv.Quote(clipped(id)), Hint: fsm.ErrNoPlan.Hint}
	}
	return state, p, nil
}

// planRequest is the body of POST /cluster/plans.
type planRequest struct {
	ID         string `json:"id"`
	Action     string `json:"action"` // "": backup
	Kind       string `json:"kind"`
	Repository string `json:"repository"`
	Member     string `json:"member"`
	Keep       string `json:"keep"`
	Trial      bool   `json:"trial"`
	Unknown    bool   `json:"unknown"` // takes the role admin
	Limit      string `json:"limit"`
	Every      string `json:"every"` // one of these three
	Cron       string `json:"cron"`
	Blocks     uint32 `json:"blocks"`
	Jitter     string `json:"jitter"`
	Blackout   string `json:"blackout"`
	Missed     string `json:"missed"` // "": skip
	Late       string `json:"late"`
	Tries      int    `json:"tries"`
	Disabled   bool   `json:"disabled"`
}

// planPatch is the body of PATCH /cluster/plans/:id.
type planPatch struct {
	Kind       *string `json:"kind"`
	Repository *string `json:"repository"`
	Member     *string `json:"member"`
	Keep       *string `json:"keep"`
	Trial      *bool   `json:"trial"`
	Unknown    *bool   `json:"unknown"`
	Limit      *string `json:"limit"`
	Every      *string `json:"every"`
	Cron       *string `json:"cron"`
	Blocks     *uint32 `json:"blocks"`
	Jitter     *string `json:"jitter"`
	Blackout   *string `json:"blackout"`
	Missed     *string `json:"missed"`
	Late       *string `json:"late"`
	Tries      *int    `json:"tries"`
	Disabled   *bool   `json:"disabled"`
}

// PlanSet answers what changes a plan.
type PlanSet struct {
	Index uint64 `json:"index"`
	Plan  Plan   `json:"plan"`
}

// planPattern is what a plan may be called (fsm says it too).
var planPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

// Bounds of a plan.
const (
	minEvery    = time.Second
	minData     = 10 * time.Minute // between two backups of the node's data: each stops a node
	minBlocks   = 1200             // which are as long
	maxBlackout = fsm.MaxStep * time.Millisecond
	maxTries    = 16
	maxCron     = 128
)

// plan reads a request; what of it depends on the cluster is the state's.
func (q planRequest) plan(s *Server, r *http.Request) (p fsm.Plan, err error) {
	ways := 0
	for _, is := range []bool{q.Every != "", q.Cron != "", q.Blocks != 0} {
		if is {
			ways++
		}
	}
	action := q.Action
	if action == "" {
		action = fsm.KindBackup
	}
	switch {
	case !planPattern.MatchString(q.ID):
		return p, badInput("such as nightly: small letters, digits and dashes, at most 64", `"id" cannot be %.64q`, q.ID)
	case !slices.Contains(planActions, action):
		return p, badInput("a restore is asked for by hand", `"action" must be backup, verify or sweep, not %.32q`, q.Action)
	case action == fsm.KindBackup && !slices.Contains(backupKinds, q.Kind):
		return p, badInput("data is blocks and state, for which the node is stopped for a while; snapshot is a chain snapshot, which it makes while it runs", `"kind" must be data or snapshot, not %.32q`, q.Kind)
	case action != fsm.KindBackup && (q.Kind != "" || q.Keep != ""):
		return p, badInput("leave them out", `"kind" and "keep" are for backups, not for a %s`, action)
	case q.Trial && action != fsm.KindVerify, q.Unknown && action != fsm.KindSweep:
		return p, badInput("leave it out", `"trial" is for a verify, "unknown" for a sweep, not for a %s`, action)
	case ways != 1:
		return p, badInput(`such as "every":"24h", "cron":"30 3 * * *" (UTC), or "blocks":172800`, `one of "every", "cron" and "blocks" must be given`)
	case len(q.Cron) > maxCron || strings.ContainsFunc(q.Cron, unicode.IsControl):
		return p, badInput("five fields, such as 30 3 * * *", `"cron" is too long, or has control characters`)
	case q.Missed != "" && q.Missed != CatchUp && q.Missed != SkipLate:
		return p, badInput(`"catch up" makes up for it once, "skip" waits for the next time`, `"missed" must be "catch up" or "skip", not %.32q`, q.Missed)
	case q.Tries < 0 || q.Tries > maxTries:
		return p, badInput("how often one that failed is tried again", `"tries" must be a number from 0 to %d`, maxTries)
	}
	if q.Unknown {
		if err := authorize(callOf(r).who, Admin); err != nil {
			return p, err
		}
	}
	t, err := s.asked(q.Repository, q.Member, q.Keep, q.Limit, "")
	if err != nil {
		return p, err
	}
	lengths := map[string]int64{}
	for _, f := range []struct {
		name, text  string
		least, most time.Duration
	}{{"every", q.Every, minEvery, maxKeep}, {"jitter", q.Jitter, minEvery, maxTask}, {"blackout", q.Blackout, minEvery, maxBlackout}, {"late", q.Late, minEvery, maxKeep}} {
		d, err := lengthOf(f.name, f.text, f.least, f.most)
		if err != nil {
			return p, err
		}
		lengths[f.name] = d.Milliseconds()
	}
	if every := lengths["every"]; q.Kind == fsm.CopiesData && (every > 0 && every < minData.Milliseconds() || q.Blocks > 0 && q.Blocks < minBlocks) {
		return p, badInput(`each one stops a node: 24h suits most; for more of them "kind":"snapshot", which a node makes while it runs`,
			`a backup of the data must not come more often than "every":"%s", or "blocks":%d`, lengthText(minData.Milliseconds()), minBlocks)
	}
	return fsm.Plan{
		ID: q.ID, Name: action, Every: lengths["every"], Cron: q.Cron, Blocks: q.Blocks, Jitter: lengths["jitter"], Blackout: lengths["blackout"], Late: lengths["late"],
		CatchUp: q.Missed == CatchUp, Tries: q.Tries, Disabled: q.Disabled,
		Task: fsm.Task{
			Member: q.Member, Repository: t.repository, Copies: q.Kind, Trial: q.Trial, Unknown: q.Unknown, Keep: t.keep.Milliseconds(), Limit: t.limit.Milliseconds(),
		},
	}, nil
}

// asRequest is a plan as it could have been asked for.
func asRequest(p fsm.Plan) planRequest {
	v := viewPlan(fsm.New(), p)
	return planRequest{
		ID: v.ID, Action: v.Action, Kind: v.Kind, Repository: v.Repository, Member: v.Member, Keep: v.Keep, Trial: v.Trial, Unknown: v.Unknown, Limit: v.Limit, Every: v.Every,
		Cron: v.Cron, Blocks: v.Blocks, Jitter: v.Jitter, Blackout: v.Blackout, Missed: v.Missed, Late: v.Late, Tries: v.Tries, Disabled: v.Disabled,
	}
}

// on is a request with what the patch says. Whoever says when it comes in one way takes the other ways away.
func (c planPatch) on(q planRequest) planRequest {
	if c.Every != nil || c.Cron != nil || c.Blocks != nil {
		q.Every, q.Cron, q.Blocks = "", "", 0
	}
	set(&q.Kind, c.Kind)
	set(&q.Repository, c.Repository)
	set(&q.Member, c.Member)
	set(&q.Keep, c.Keep)
	set(&q.Trial, c.Trial)
	set(&q.Unknown, c.Unknown)
	set(&q.Limit, c.Limit)
	set(&q.Every, c.Every)
	set(&q.Cron, c.Cron)
	set(&q.Blocks, c.Blocks)
	set(&q.Jitter, c.Jitter)
	set(&q.Blackout, c.Blackout)
	set(&q.Missed, c.Missed)
	set(&q.Late, c.Late)
	set(&q.Tries, c.Tries)
	set(&q.Disabled, c.Disabled)
	return q
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// postPlan adds a plan; one that is there already becomes this one, and keeps what it did.
func (s *Server) postPlan(r *http.Request) (answer, error) {
	var body planRequest
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	p, err := body.plan(s, r)
	if err != nil {
		return answer{}, err
	}
	status := http.StatusCreated
	if _, _, err := s.plan(p.ID); err == nil {
		status = http.StatusOK
	}
	return s.putPlan(r, body, p, status)
}

func (s *Server) putPlan(r *http.Request, body any, p fsm.Plan, status int) (answer, error) {
	index, err := s.changeState(r, body, func(ctx context.Context) error {
		put, err := s.cfg.Control.PutPlan(ctx, p)
		p = put
		return err
	})
	if err != nil {
		return answer{}, err
	}
	state, _ := s.cfg.Cluster.View()
	if now, ok := state.Plans[p.ID]; ok {
		p = now
	}
	return answer{status: status, location: "/cluster/plans/" + p.ID, body: PlanSet{index, viewPlan(state, p)}}, nil
}

func (s *Server) patchPlan(r *http.Request) (answer, error) {
	var body planPatch
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	_, old, err := s.plan(r.PathValue("id"))
	switch {
	case err != nil:
		return answer{}, err
	case body == (planPatch{}):
		return answer{}, badInput(fieldsHint(&body), "nothing to change is named")
	case body == (planPatch{Disabled: body.Disabled}):
		index, err := s.changeState(r, body, func(ctx context.Context) error { return s.cfg.Control.SetPlan(ctx, old.ID, *body.Disabled) })
		if err != nil {
			return answer{}, err
		}
		state, _ := s.cfg.Cluster.View()
		return answer{body: PlanSet{index, viewPlan(state, state.Plans[old.ID])}}, nil
	}
	p, err := body.on(asRequest(old)).plan(s, r)
	if err != nil {
		return answer{}, err
	}
	return s.putPlan(r, body, p, http.StatusOK)
}

func (s *Server) deletePlan(r *http.Request) (answer, error) {
	id := r.PathValue("id")
	if _, _, err := s.plan(id); err != nil {
		return answer{}, err
	}
	index, err := s.changeState(r, nil, func(ctx context.Context) error { return s.cfg.Control.RemovePlan(ctx, id) })
	return answer{body: Removed{index, id}}, err
}

// runPlan does now what a plan does, whenever it is due.
func (s *Server) runPlan(r *http.Request) (answer, error) {
	_, p, err := s.plan(r.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	return s.start(r, nil, func(ctx context.Context, key string) (uint64, error) { return s.cfg.Control.RunPlan(ctx, p.ID, key) })
}
