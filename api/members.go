package api

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"time"

	"roundtable/fsm"
	"roundtable/security"
)

// known refuses a member that the state does not have.
func (s *Server) known(id string) error {
	state, _ := s.cfg.Cluster.View()
	if _, ok := state.Members[id]; !ok {
		return &Error{Status: http.StatusNotFound, Code: fsm.ErrMember.Rule, Message: fmt.Sprintf("no such member: %.64q", id), Hint: fsm.ErrMember.Hint}
	}
	return nil
}

// memberRequest is the body of PATCH /cluster/members/:id.
type memberRequest struct {
	Priority    *int  `json:"priority"`
	NoFailover  *bool `json:"nofailover"`
	Maintenance *bool `json:"maintenance"`
	Voter       *bool `json:"voter"` // needs the role admin
}

// MemberSet answers PATCH /cluster/members/:id.
type MemberSet struct {
	Index  uint64 `json:"index"`
	Member Member `json:"member"`
}

func (s *Server) patchMember(r *http.Request) (answer, error) {
	var body memberRequest
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	c := fsm.SetMember{ID: r.PathValue("id"), Priority: body.Priority, NoFailover: body.NoFailover, Maintenance: body.Maintenance}
	if body.Voter != nil {
		if err := authorize(callOf(r).who, Admin); err != nil {
			return answer{}, err
		}
		nonvoter := !*body.Voter
		c.Nonvoter = &nonvoter
	}
	if body == (memberRequest{}) {
		return answer{}, badInput(fieldsHint(&body), "nothing to change is named")
	}
	if err := s.known(c.ID); err != nil {
		return answer{}, err
	}
	index, err := s.change(r, body, func(ctx context.Context, key string) (uint64, error) { return s.cfg.Control.SetMember(ctx, c, key) })
	if err != nil {
		return answer{}, err
	}
	return answer{body: MemberSet{index, s.look().member(c.ID)}}, nil
}

// Removed answers DELETE requests that leave nothing.
type Removed struct {
	Index uint64 `json:"index"`
	ID    string `json:"id"`
}

// deleteMember removes a member for good: its certificate and its id are refused until it is invited again. A member that
// was removed is removed: asking again is no error.
func (s *Server) deleteMember(r *http.Request) (answer, error) {
	id := r.PathValue("id")
	if err := s.known(id); err != nil && !banned(s.cfg.Cluster, id) {
		return answer{}, err
	}
	index, err := s.change(r, nil, func(ctx context.Context, _ string) (uint64, error) {
		err := s.cfg.Cluster.Remove(ctx, id)
		state, _ := s.cfg.Cluster.View()
		return state.Index, err
	})
	return answer{body: Removed{index, id}}, err
}

// inviteRequest is the body of POST /cluster/members.
type inviteRequest struct {
	ID  string `json:"id"`
	TTL string `json:"ttl"` // how long the invite lasts, such as 1h, the default
}

// Invited answers POST /cluster/members. Join is a secret until it was used.
type Invited struct {
	ID      string `json:"id"`
	Join    string `json:"join"`
	Expires string `json:"expires"`
}

// Bounds of what is handed out.
const (
	defaultInvite = time.Hour
	maxInvite     = 7 * 24 * time.Hour
	minTTL        = time.Minute
	maxTTL        = 10 * 365 * 24 * time.Hour
)

// idPattern is what a member's id or a token's name may be: it stands in paths, in certificates and in people's commands.
var idPattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$`)

func checkID(field, id string) error {
	if !idPattern.MatchString(id) {
		return badInput("1 to 63 letters, digits, dots, dashes and underscores, a letter or a digit first", "%q cannot be %.64q", field, id)
	}
	return nil
}

// lasting reads a ttl: within bounds, def where there is none.
func lasting(ttl string, def, most time.Duration) (time.Duration, error) {
	if ttl == "" {
		return def, nil
	}
	d, err := time.ParseDuration(ttl)
	if err != nil || d < minTTL || d > most {
		return 0, badInput("such as 1h or 720h", `"ttl" must be a duration from %s to %s, not %.32q`, minTTL, most, ttl)
	}
	return d, nil
}

// postMember invites a member: the answer has the string that it joins with.
func (s *Server) postMember(r *http.Request) (answer, error) {
	var body inviteRequest
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if err := checkID("id", body.ID); err != nil {
		return answer{}, err
	}
	ttl, err := lasting(body.TTL, defaultInvite, maxInvite)
	if err != nil {
		return answer{}, err
	}
	if s.cfg.CAs == nil {
		return answer{}, errPlain
	}
	text, id, hash := security.NewInvite()
	expires := s.cfg.Now().Add(ttl).UnixMilli()
	join := security.Join{Member: body.ID, APIs: s.apis(), CAs: s.cfg.CAs(), Invite: text}
	if _, err := s.change(r, body, func(ctx context.Context, key string) (uint64, error) {
		return s.cfg.Control.PutInvite(ctx, fsm.Invite{ID: id, Member: body.ID, Hash: hash, Expires: expires}, key)
	}); err != nil {
		return answer{}, err
	}
	if state, _ := s.cfg.Cluster.View(); state.Invites[id].Hash != hash {
		return answer{}, shownBefore("invite")
	}
	return answer{status: http.StatusCreated, body: Invited{body.ID, join.Text(), stamp(expires)}}, nil
}

// shownBefore answers the repeat of a request whose answer held a secret: only the first one's is good, and it is not kept.
func shownBefore(what string) *Error {
	return &Error{Status: http.StatusConflict, Code: "shown_before", Message: "this request was done before, and its " + what + " was shown then", Hint: "make another one, with an Idempotency-Key of its own"}
}

// apis are the URLs of the members' APIs, the one that answers first.
func (s *Server) apis() []string {
	state, _ := s.cfg.Cluster.View()
	var list []string
	for _, id := range state.MemberIDs() {
		if id == s.cfg.Self {
			list = slices.Insert(list, 0, state.Members[id].API)
		} else {
			list = append(list, state.Members[id].API)
		}
	}
	return list
}
