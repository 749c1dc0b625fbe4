package api

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"roundtable/fsm"
	"roundtable/security"
)

// Token is a line of GET /cluster/tokens. The token itself is not kept anywhere.
type Token struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Role    string `json:"role"`
	Created string `json:"created"`
	Expires string `json:"expires"` // "": never
	Actor   string `json:"actor"`   // who made it
}

// NewToken answers POST /cluster/tokens: the only time that the text is shown.
type NewToken struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Role    string `json:"role"`
	Token   string `json:"token"`
	Expires string `json:"expires"`
}

// getTokens lists the tokens, the oldest first.
func (s *Server) getTokens(*http.Request) (answer, error) {
	state, _ := s.cfg.Cluster.View()
	list := []Token{}
	for _, t := range slices.SortedFunc(maps.Values(state.Tokens), func(a, b fsm.Token) int { return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.ID, b.ID)) }) {
		list = append(list, Token{t.ID, t.Name, t.Role, stamp(t.Created), stamp(t.Expires), t.Actor})
	}
	return answer{body: list}, nil
}

// tokenRequest is the body of POST /cluster/tokens.
type tokenRequest struct {
	Name string `json:"name"`
	Role string `json:"role"`
	TTL  string `json:"ttl"` // empty: it never ends
}

func (s *Server) postToken(r *http.Request) (answer, error) {
	var body tokenRequest
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if err := checkID("name", body.Name); err != nil {
		return answer{}, err
	}
	switch Role(body.Role) {
	case Read, Operate, Admin:
	default:
		return answer{}, badInput("read looks, operate hands over and sets maintenance, admin changes who is in the cluster", `"role" must be read, operate or admin, not %.32q`, body.Role)
	}
	ttl, err := lasting(body.TTL, 0, maxTTL)
	if err != nil {
		return answer{}, err
	}
	text, id, hash := security.NewToken()
	t := fsm.Token{ID: id, Name: body.Name, Role: body.Role, Hash: hash}
	if ttl > 0 {
		t.Expires = s.cfg.Now().Add(ttl).UnixMilli()
	}
	if _, err := s.change(r, body, func(ctx context.Context, key string) (uint64, error) { return s.cfg.Control.PutToken(ctx, t, key) }); err != nil {
		return answer{}, err
	}
	if state, _ := s.cfg.Cluster.View(); state.Tokens[id].Hash != hash {
		return answer{}, shownBefore("token")
	}
	return answer{status: http.StatusCreated, body: NewToken{id, t.Name, t.Role, text, stamp(t.Expires)}}, nil
}

func (s *Server) deleteToken(r *http.Request) (answer, error) {
	id := r.PathValue("id")
	state, _ := s.cfg.Cluster.View()
	if _, ok := state.Tokens[id]; !ok && r.Header.Get("Idempotency-Key") == "" { // a repeat is answered like the first
		return answer{}, &Error{Status: http.StatusNotFound, Code: fsm.ErrNoToken.Rule, Message: fmt.Sprintf("no such token: %.64q", id), Hint: fsm.ErrNoToken.Hint}
	}
	index, err := s.change(r, nil, func(ctx context.Context, key string) (uint64, error) { return s.cfg.Control.RemoveToken(ctx, id, key) })
	return answer{body: Removed{index, id}}, err
}
