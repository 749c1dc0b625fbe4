package api

import (
	"net/http"
	"strconv"

	"roundtable/fsm"
)

func (s *Server) getMember(r *http.Request) (answer, error) {
	v, id := s.look(), r.PathValue("id")
	if _, ok := v.state.Members[id]; !ok {
		return answer{}, &Error{Status: http.StatusNotFound, Code: fsm.ErrMember.Rule, Message: "no such member: " + strconv.Quote(id), Hint: fsm.ErrMember.Hint}
	}
	return answer{body: v.member(id)}, nil
}

func (s *Server) getOperations(*http.Request) (answer, error) {
	state, _ := s.cfg.Cluster.View()
	list, now := []Operation{}, s.cfg.Now().UnixMilli()
	for i := len(state.Operations) - 1; i >= 0; i-- { // newest first
		list = append(list, s.operation(state, state.Operations[i], now))
	}
	return answer{body: list}, nil
}

func (s *Server) getOperation(r *http.Request) (answer, error) {
	state, _ := s.cfg.Cluster.View()
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	o, ok := state.Operation(id)
	if err != nil || !ok {
		return answer{}, unknownOperation(r.PathValue("id"))
	}
	return answer{body: s.operation(state, o, s.cfg.Now().UnixMilli())}, nil
}

func unknownOperation(id string) *Error {
	return &Error{Status: http.StatusNotFound, Code: fsm.ErrOperation.Rule, Message: "no such operation: " + strconv.Quote(id), Hint: "list them with: roundtable operations (old ones are forgotten)"}
}

// getHistory lists the newest lines first; ?limit=N of them.
func (s *Server) getHistory(r *http.Request) (answer, error) {
	state, _ := s.cfg.Cluster.View()
	limit := len(state.History)
	if q := r.URL.Query().Get("limit"); q != "" {
		n, err := strconv.Atoi(q)
		if err != nil || n < 1 {
			return answer{}, badInput("such as ?limit=20", "limit must be a number from 1 on, not %q", q)
		}
		limit = min(limit, n)
	}
	list := []Event{}
	for i := len(state.History) - 1; len(list) < limit; i-- {
		list = append(list, viewEvent(state.History[i]))
	}
	return answer{body: list}, nil
}
