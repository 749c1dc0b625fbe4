package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"roundtable/cluster"
	"roundtable/fsm"
)

// Error is an answer that is not what was asked for. On the wire: {"error":{"code","message","hint"}}.
type Error struct {
	Status    int    `json:"-"`
	Code      string `json:"code"` // stable; the rule's name where the state refused
	Message   string `json:"message"`
	Hint      string `json:"hint,omitempty"`
	Operation string `json:"-"` // the operation that this is about, if any
	refused   string // why it counts as refused; "": it does not
}

// Error is the message.
func (e *Error) Error() string { return e.Message }

// errorBody is an Error on the wire.
type errorBody struct {
	Error     *Error `json:"error"`
	Operation string `json:"operation,omitempty"`
}

func badInput(hint, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: "bad_input", Message: fmt.Sprintf(format, args...), Hint: hint}
}

// unknownOutcome is the hint where a change may or may not have happened.
const unknownOutcome = "whether it happened is not known: look at /cluster/operations, or repeat it with the same Idempotency-Key, which is harmless"

// toError is the one map from errors to answers.
func toError(err error) *Error {
	var own *Error
	var refusal *fsm.Refusal
	var router *echo.HTTPError
	answer := func(status int, code, hint string) *Error {
		return &Error{Status: status, Code: code, Message: err.Error(), Hint: hint}
	}
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &refusal):
		return &Error{Status: http.StatusConflict, Code: refusal.Rule, Message: words(refusal.Message), Hint: orHint(refusal.Hint)}
	case errors.Is(err, cluster.ErrNoLeader):
		return answer(http.StatusServiceUnavailable, "no_leader", "nothing was changed; a majority of the members must be up and reach each other: see /cluster and ask again")
	case errors.Is(err, cluster.ErrEntryVersion):
		return answer(http.StatusConflict, "entry_version", "upgrade the older members first")
	case errors.Is(err, cluster.ErrLagging):
		return answer(http.StatusServiceUnavailable, "lagging", "it happened, but this member has not seen it yet: look at /cluster/operations, or ask another member")
	case errors.Is(err, cluster.ErrStalled):
		return answer(http.StatusServiceUnavailable, "stalled", "the disk of this manager does not answer: ask another member, and look at the disk")
	case errors.Is(err, cluster.ErrUnknownOutcome):
		return answer(http.StatusServiceUnavailable, "unknown_outcome", unknownOutcome)
	case errors.Is(err, cluster.ErrClosed):
		return answer(http.StatusServiceUnavailable, "closing", "this manager is stopping: ask another member")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &Error{Status: http.StatusServiceUnavailable, Code: "timeout", Message: "the cluster did not answer in time", Hint: unknownOutcome}
	case errors.Is(err, cluster.ErrUnknownMember):
		return answer(http.StatusNotFound, fsm.ErrMember.Rule, fsm.ErrMember.Hint)
	case errors.Is(err, cluster.ErrQuorum):
		return answer(http.StatusConflict, "member.quorum", "nothing was changed; start the members that are down first, or add one")
	case errors.Is(err, cluster.ErrTransfer):
		return answer(http.StatusConflict, "leader.transfer", "raft's leadership is where it was; see: roundtable raft --all, and try again or name another member")
	case errors.As(err, &router):
		return routerError(router)
	}
	return &Error{Status: http.StatusInternalServerError, Code: "internal", Message: "the request failed: the manager's log says why", Hint: "see the log of the manager that was asked"}
}

// orHint is what can be said to any refusal that has no better hint.
func orHint(hint string) string {
	if hint == "" {
		return "nothing was changed; look at: roundtable status"
	}
	return hint
}

func routerError(e *echo.HTTPError) *Error {
	switch e.Code {
	case http.StatusNotFound:
		return &Error{Status: e.Code, Code: "unknown_path", Message: "there is nothing at this path", Hint: "start at GET /cluster"}
	case http.StatusMethodNotAllowed:
		return &Error{Status: e.Code, Code: "wrong_method", Message: "this path does not take that method", Hint: "the Allow header names those it takes"}
	}
	return &Error{Status: e.Code, Code: "bad_request", Message: fmt.Sprint(e.Message), Hint: "see the documentation of the API"}
}

// fail answers with an error. What the client cannot know stands in the log.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := toError(err)
	if e.refused != "" {
		s.Refuse(e.refused)
	}
	switch {
	case e.Status >= http.StatusInternalServerError:
		s.cfg.Log.Warn("request failed", "method", r.Method, "route", callOf(r).route, "status", e.Status, "err", err)
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden: // never more than slowed explains
		s.cfg.Log.Warn("request refused", "method", r.Method, "route", callOf(r).route, "reason", e.refused, "client", r.RemoteAddr)
	}
	switch e.Status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	}
	write(w, e.Status, errorBody{e, e.Operation})
}
