package fsm

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// The roles of a token, each with all that the ones before it may do.
const (
	RoleRead    = "read"
	RoleOperate = "operate"
	RoleAdmin   = "admin"
)

// Token is what somebody may show to the API. Its text is known to its owner only; the state has the text's SHA-256.
type Token struct {
	ID      string `json:"id"`
	Name    string `json:"name"` // stands in the history as the actor "token:NAME"
	Role    string `json:"role"`
	Hash    string `json:"hash"`              // of the whole text, 64 lowercase hex digits
	Created int64  `json:"created"`           // Unix ms; the entry's
	Expires int64  `json:"expires,omitempty"` // Unix ms, judged by whoever is shown the token; 0: never
	Actor   string `json:"actor,omitempty"`   // who made it; the entry's
}

// Invite lets one new member in, once: it gets its certificate for it.
type Invite struct {
	ID      string `json:"id"`
	Member  string `json:"member"` // the id that it is for
	Hash    string `json:"hash"`   // of its secret, 64 lowercase hex digits
	Created int64  `json:"created"`
	Expires int64  `json:"expires"`
	Used    int64  `json:"used,omitempty"` // 0: not yet
	Actor   string `json:"actor,omitempty"`
}

// PutToken adds a token. The same one again changes nothing, another one with its id is refused. Where there are as many as
// there may be, those that have expired by the entry's time make room.
type PutToken struct {
	Token Token `json:"token"`
}

// RemoveToken takes a token away: from then on it is refused.
type RemoveToken struct {
	ID string `json:"id"`
}

// PutInvite invites a member that is not there yet. It lets nobody in: a ban stays until the invite is used. The oldest invites
// make room, those that were used last of all: they tell since when a member is who it is (Admitted).
type PutInvite struct {
	Invite Invite `json:"invite"`
}

// UseInvite uses an invite up, lifts its member's ban, and drops the member's other invites. Refused where it is unknown, of
// another secret, used, expired by the entry's time, for another member, or for one that is there already.
type UseInvite struct {
	ID     string `json:"id"`
	Hash   string `json:"hash"`
	Member string `json:"member"`
}

// Kind names the entry.
func (PutToken) Kind() string { return "token.put" }

// Kind names the entry.
func (RemoveToken) Kind() string { return "token.remove" }

// Kind names the entry.
func (PutInvite) Kind() string { return "invite.put" }

// Kind names the entry.
func (UseInvite) Kind() string { return "invite.use" }

func (c PutToken) apply(s *State, e Entry) error {
	t := c.Token
	t.Created, t.Actor = e.At, clip(e.Actor)
	switch old, known := s.Tokens[t.ID]; {
	case !named(t.ID) || !named(t.Name):
		return ErrToken.with("id %q, name %q: 1 to %d bytes each, none of them a control character", t.ID, t.Name, maxNamed)
	case t.Role != RoleRead && t.Role != RoleOperate && t.Role != RoleAdmin:
		return ErrToken.with("role %q is none of %s, %s, %s", t.Role, RoleRead, RoleOperate, RoleAdmin)
	case !hashed(t.Hash):
		return ErrToken.with("its hash is no SHA-256 in lowercase hex")
	case t.Expires < 0:
		return ErrToken.with("it expired before 1970")
	case known && (old.Hash != t.Hash || old.Role != t.Role):
		return ErrToken.with("another token has the id %q", t.ID)
	case known:
		return nil
	}
	tokens := maps.Clone(s.Tokens)
	if len(tokens) >= maxTokens {
		maps.DeleteFunc(tokens, func(_ string, t Token) bool { return t.Expires != 0 && t.Expires <= e.At })
	}
	if len(tokens) >= maxTokens {
		return ErrToken.with("there are %d, the most there may be: remove those that nobody uses", len(tokens))
	}
	if tokens == nil {
		tokens = map[string]Token{}
	}
	tokens[t.ID] = t
	s.Tokens = tokens
	s.note(e, "token.created", t.ID, "%s, role %s", t.Name, t.Role)
	return nil
}

func (c RemoveToken) apply(s *State, e Entry) error {
	t, ok := s.Tokens[c.ID]
	if !ok {
		return ErrNoToken.with("%q", c.ID)
	}
	s.Tokens = without(s.Tokens, c.ID)
	s.note(e, "token.removed", c.ID, "%s, role %s", t.Name, t.Role)
	return nil
}

func (c PutInvite) apply(s *State, e Entry) error {
	n := c.Invite
	n.Created, n.Used, n.Actor = e.At, 0, clip(e.Actor)
	_, known := s.Invites[n.ID]
	_, member := s.Members[n.Member]
	switch {
	case !named(n.ID) || !named(n.Member):
		return ErrInviteBad.with("id %q, member %q: 1 to %d bytes each, none of them a control character", n.ID, n.Member, maxNamed)
	case !hashed(n.Hash):
		return ErrInviteBad.with("its hash is no SHA-256 in lowercase hex")
	case n.Expires <= e.At:
		return ErrInviteBad.with("it expires before it is made")
	case known:
		return ErrInviteBad.with("another invite has the id %q", n.ID)
	case member:
		return ErrInviteBad.with("%q is a member already: remove it first if a new machine is to take its place", n.Member)
	}
	s.Invites = putBounded(s.Invites, n.ID, n, maxInvites, func(n Invite) int64 {
		if n.Used != 0 {
			return 1 << 62
		}
		return n.Created
	})
	s.note(e, "member.invited", n.Member, "invite %s", n.ID)
	return nil
}

func (c UseInvite) apply(s *State, e Entry) error {
	n, ok := s.Invites[c.ID]
	switch {
	case !ok:
		return ErrInvite.with("%q", c.ID)
	case n.Hash != c.Hash: // before anything else is told about it
		return ErrInviteWrong.with("the secret is not that of invite %q", c.ID)
	case n.Used != 0:
		return ErrInviteUsed.with("%q", c.ID)
	case e.At >= n.Expires:
		return ErrInviteLate.with("%q, by %d s", c.ID, (e.At-n.Expires)/1000)
	case n.Member != c.Member:
		return ErrInviteWrong.with("%q is for member %q, not %q", c.ID, n.Member, c.Member)
	}
	if _, member := s.Members[n.Member]; member { // it could make itself a second certificate of, say, the holder
		return ErrInviteBad.with("%q is a member already: remove it first if a new machine is to take its place", n.Member)
	}
	n.Used = e.At
	invites := maps.Clone(dropInvites(s.Invites, func(o Invite) bool { return o.Member == n.Member && o.ID != n.ID }))
	invites[n.ID] = n
	s.Invites, s.Banned = invites, without(s.Banned, n.Member)
	s.note(e, "member.admitted", n.Member, "invite %s", n.ID)
	return nil
}

// dropInvites returns the invites without those that go; nil where none is left.
func dropInvites(old map[string]Invite, goes func(Invite) bool) map[string]Invite {
	for _, id := range slices.Sorted(maps.Keys(old)) {
		if goes(old[id]) {
			old = without(old, id)
		}
	}
	return old
}

// unused is an invite for a member that nobody used.
func unused(member string) func(Invite) bool {
	return func(n Invite) bool { return n.Member == member && n.Used == 0 }
}

// Admitted is when a member was let in by its newest invite, in Unix ms; 0 where it came without one, or long ago. A certificate
// that is older was its predecessor's: somebody whose id an operator took away and gave to another machine.
func (s *State) Admitted(member string) (at int64) {
	for _, n := range s.Invites {
		if n.Member == member {
			at = max(at, n.Used)
		}
	}
	return at
}

// maxNamed bounds ids and names, in bytes.
const maxNamed = 128

// named reports whether a text may be an id or a name: no control characters, no space at its ends, not long. It asks no
// Unicode table, which may differ between two programs.
func named(text string) bool {
	return text != "" && len(text) <= maxNamed && strings.Trim(text, " ") == text && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// hashed reports whether a text may be a SHA-256.
func hashed(text string) bool {
	return len(text) == 64 && strings.Trim(text, "0123456789abcdef") == ""
}

// putBounded returns a copy of the map with one value put; beyond limit the one with the lowest age goes, of two the one with
// the lower key.
func putBounded[V any](old map[string]V, key string, v V, limit int, age func(V) int64) map[string]V {
	next := make(map[string]V, len(old)+1)
	maps.Copy(next, old)
	delete(next, key)
	for len(next) >= limit {
		delete(next, slices.MinFunc(slices.Sorted(maps.Keys(next)), func(a, b string) int { return cmp.Compare(age(next[a]), age(next[b])) }))
	}
	next[key] = v
	return next
}

// without returns the map without a key; nil where nothing is left, so that it is absent from a raft snapshot.
func without[V any](old map[string]V, key string) map[string]V {
	if _, ok := old[key]; !ok {
		return old
	}
	if len(old) == 1 {
		return nil
	}
	next := maps.Clone(old)
	delete(next, key)
	return next
}
