package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"roundtable/cluster"
	"roundtable/fsm"
)

// handoffRequest is the body of POST /cluster/handoff.
type handoffRequest struct {
	To   string `json:"to"`   // member id; empty: the best fit standby
	When string `json:"when"` // safe (the default), now
}

// postHandoff starts a handoff.
func (s *Server) postHandoff(r *http.Request) (answer, error) {
	var body handoffRequest
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	switch body.When {
	case "":
		body.When = "safe"
	case "safe", "now":
	default:
		return answer{}, badInput(`"safe" waits for the gap after our window, "now" does not`, `"when" must be "safe" or "now", not %q`, body.When)
	}
	if body.To != "" { // whatever was mistyped there, a token say, must not get into the log
		if err := s.known(body.To); err != nil {
			return answer{}, err
		}
	}
	return s.start(r, body, func(ctx context.Context, key string) (uint64, error) {
		return s.cfg.Control.Handoff(ctx, body.To, body.When, key)
	})
}

// start does what every request that starts an operation has in common: the operation's id in the answer, and ?wait=.
func (s *Server) start(r *http.Request, body any, begin func(ctx context.Context, key string) (uint64, error)) (answer, error) {
	wait := time.Duration(0)
	if q := r.URL.Query().Get("wait"); q != "" {
		var err error
		if wait, err = time.ParseDuration(q); err != nil || wait <= 0 || wait > maxWait {
			return answer{}, badInput("such as ?wait=30s", "wait must be a duration up to %s, not %.32q", maxWait, q)
		}
	}
	id, err := s.change(r, body, begin)
	if err != nil {
		return answer{}, err
	}
	name := strconv.FormatUint(id, 10)
	location := "/cluster/operations/" + name
	if wait > 0 {
		o, ended := s.await(r.Context(), id, wait)
		state, _ := s.cfg.Cluster.View()
		view := s.operation(state, o, s.cfg.Now().UnixMilli())
		switch {
		case ended && o.Outcome == fsm.Done:
			return answer{location: location, body: Started{name, &view}}, nil
		case ended:
			return answer{}, failedOperation(o)
		}
	}
	return answer{status: http.StatusAccepted, location: location, body: Started{Operation: name}}, nil
}

// awaitLeader gives an election a moment to end; a cluster without a majority is told from one soon.
func (s *Server) awaitLeader(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaderTime)
	defer cancel()
	look := time.NewTicker(leaderTime / 20)
	defer look.Stop()
	for {
		if leader, _ := s.cfg.Cluster.Leader(); leader != "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return &cluster.NoLeaderError{}
		case <-look.C:
		}
	}
}

// await waits for an operation's end; false when it is still running, or not to be seen here.
func (s *Server) await(ctx context.Context, id uint64, wait time.Duration) (fsm.Operation, bool) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		state, changed := s.cfg.Cluster.View()
		if o, ok := state.Operation(id); ok && o.Outcome != fsm.Running {
			return o, true
		}
		select {
		case <-ctx.Done():
			return fsm.Operation{}, false
		case <-changed:
		}
	}
}

// failedOperation is the answer for an operation that was waited for and did not succeed.
func failedOperation(o fsm.Operation) *Error {
	step := ""
	if n := len(o.Steps); n > 0 {
		step = fmt.Sprintf(" at step %q", o.Steps[n-1].Name)
	}
	return &Error{
		Status: http.StatusConflict, Code: "operation." + string(o.Outcome), Message: fmt.Sprintf("%s %d %s%s: %s", o.Kind, o.ID, o.Outcome, step, o.Reason),
		Hint: "see: roundtable status, and: roundtable operations " + strconv.FormatUint(o.ID, 10), Operation: strconv.FormatUint(o.ID, 10),
	}
}
