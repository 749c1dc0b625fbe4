package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"roundtable/cluster"
	"roundtable/fsm"
	"roundtable/security"
)

// Authority is the cluster's CA, as far as this member has it.
type Authority interface {
	// Sign makes a member's certificate; security.ErrNoCA where the CA's key is not here.
	Sign(request []byte, member string) (security.Issued, error)
	// Gossip is what a new member finds the others with: the key's file, and addresses.
	Gossip() (key string, addresses []string)
	// Alarm puts a line into the history. It does not wait.
	Alarm(name, subject, text string)
}

// JoinRequest is the body of POST /cluster/join.
type JoinRequest struct {
	ID     string `json:"id"`
	Invite string `json:"invite"` // its text: a secret
	CSR    string `json:"csr"`    // PEM
}

// Joined answers it: what the new member's home needs.
type Joined struct {
	ID          string   `json:"id"`
	Cluster     string   `json:"cluster"`
	Producers   []string `json:"producers"`
	Certificate string   `json:"certificate"` // the chain, as PEM
	CA          string   `json:"ca"`          // the CAs to believe, as PEM
	GossipKey   string   `json:"gossip_key"`  // a secret
	Join        []string `json:"join"`        // gossip addresses
	P2P         []string `json:"p2p"`         // of the members' nodes
}

// CertificateRequest is the body of POST /cluster/certificate.
type CertificateRequest struct {
	CSR string `json:"csr"` // PEM
}

// Certificate answers it.
type Certificate struct {
	Certificate string `json:"certificate"`
	CA          string `json:"ca"`
}

const (
	noCA       = "join.no_ca" // the code of an answer that sends the asker to another member
	hopTime    = 5 * time.Second
	alarmEvery = 10 * time.Minute
)

// postJoin lets in who has an invite. It uses the invite up by an entry of the log, so that of two who show it one gets in.
// The certificate is made before, and handed out after: an invite is not used up by a request that comes to nothing.
func (s *Server) postJoin(r *http.Request) (answer, error) {
	var body JoinRequest
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	use, err := s.invited(body)
	if err != nil {
		return answer{}, err
	}
	issued, err := s.cfg.Authority.Sign([]byte(body.CSR), body.ID)
	if errors.Is(err, security.ErrNoCA) {
		return s.passOn(r, body)
	}
	if err != nil {
		return answer{}, refusedRequest(err)
	}
	ctx := cluster.WithActor(r.Context(), "invite:"+use.ID)
	if _, err := s.change(r.WithContext(ctx), nil, func(ctx context.Context, _ string) (uint64, error) {
		return s.cfg.Control.UseInvite(ctx, use, "") // a repeat is no repeat here: the second one is somebody else
	}); err != nil {
		return answer{}, s.badInvite(use, err)
	}
	state, _ := s.cfg.Cluster.View()
	key, addresses := s.cfg.Authority.Gossip()
	joined := Joined{
		ID: body.ID, Cluster: state.Cluster.Name, Producers: append([]string{}, state.Cluster.Producers...),
		Certificate: string(issued.Cert), CA: string(issued.CA), GossipKey: key, Join: addresses, P2P: []string{},
	}
	for _, id := range state.MemberIDs() {
		if p2p := state.Members[id].P2P; p2p != "" && id != body.ID {
			joined.P2P = append(joined.P2P, p2p)
		}
	}
	return answer{body: joined}, nil
}

// invited refuses what the log would refuse, and what nobody would sign, before anything is proposed: strangers must not be
// able to fill the log. The invite comes first: who has none makes us check no signature.
func (s *Server) invited(body JoinRequest) (fsm.UseInvite, error) {
	use := fsm.UseInvite{Member: body.ID, Hash: security.HashToken(body.Invite)}
	var err error
	switch use.ID, err = security.ParseInvite(body.Invite); {
	case s.cfg.Authority == nil:
		return use, errPlain
	case err != nil:
		return use, badInput("it is in the join string that roundtable member add prints", `"invite" is not the text of an invite`)
	}
	if err := checkID("id", body.ID); err != nil {
		return use, err
	}
	state, _ := s.cfg.Cluster.View()
	if _, tried := state.Apply(fsm.Entry{Index: state.Index + 1, At: s.cfg.Now().UnixMilli(), By: s.cfg.Self, Command: use}); tried.Err != nil {
		return use, s.badInvite(use, tried.Err)
	}
	return use, s.signable(body.ID, body.CSR)
}

// signable refuses a certificate request that nobody should sign. A host that is another member's, by its id or by where it is
// reached, is nobody else's: who looks at host names must not take the one for the other.
func (s *Server) signable(member, csr string) error {
	hosts, err := security.CheckRequest([]byte(csr))
	if err != nil {
		return refusedRequest(err)
	}
	state, _ := s.cfg.Cluster.View()
	for _, h := range hosts {
		if other := ownerOf(h, member, state.Members); other != "" {
			return &Error{Status: http.StatusConflict, Code: "join.host", Message: fmt.Sprintf("%.64q is the id or the host of the member %s", h, other), Hint: "choose a host name of its own for each member"}
		}
	}
	return nil
}

func refusedRequest(err error) error {
	if errors.Is(err, security.ErrRequest) {
		return badInput("roundtable init makes the right one", "%s", strings.TrimPrefix(err.Error(), "security: "))
	}
	return err
}

// errPlain refuses to let anybody in where there is no TLS.
var errPlain = &Error{Status: http.StatusConflict, Code: "join.plain", Message: "this cluster has no CA that could let a member in", Hint: "a cluster without TLS is for one machine: lay out its homes at once with roundtable init"}

// badInvite counts a refused invite. One that was used before, or whose secret was guessed at, is more than a mistake: the
// history gets a line, not too often.
func (s *Server) badInvite(use fsm.UseInvite, err error) error {
	var refusal *fsm.Refusal
	if !errors.As(err, &refusal) {
		return err
	}
	s.cfg.Log.Warn("an invite was refused", "invite", use.ID, "subject", use.Member, "rule", refusal.Rule)
	if refusal.Rule == fsm.ErrInviteUsed.Rule || refusal.Rule == fsm.ErrInviteWrong.Rule {
		s.joins.alarm(s.cfg.Now(), func() { s.cfg.Authority.Alarm("join", use.Member, words(refusal.Message)) })
	}
	e := toError(err)
	e.refused = reasonInvite
	return e
}

// alarms lets one through in a while.
type alarms struct {
	mu   sync.Mutex
	last time.Time
}

func (a *alarms) alarm(now time.Time, ring func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last.IsZero() || now.Sub(a.last) >= alarmEvery {
		a.last = now
		ring()
	}
}

// postCertificate gives a member a new certificate in exchange for the one that it asks with.
func (s *Server) postCertificate(r *http.Request) (answer, error) {
	var body CertificateRequest
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	member := callOf(r).who.Member
	if err := s.known(member); err != nil {
		return answer{}, err
	}
	if err := s.signable(member, body.CSR); err != nil {
		return answer{}, err
	}
	issued, err := s.cfg.Authority.Sign([]byte(body.CSR), member)
	switch {
	case errors.Is(err, security.ErrNoCA):
		return answer{}, withoutCA()
	case err != nil:
		return answer{}, refusedRequest(err)
	}
	s.cfg.Log.Info("signed a certificate", "subject", member)
	return answer{body: Certificate{string(issued.Cert), string(issued.CA)}}, nil
}

func withoutCA() *Error {
	return &Error{Status: http.StatusServiceUnavailable, Code: noCA, Message: "the key of the cluster's CA is not on this member", Hint: "ask the member that has it; it is where roundtable init made it"}
}

// passOn gives a join to a member that has the CA's key. It is one hop: what a member asks for is not passed on again.
func (s *Server) passOn(r *http.Request, body JoinRequest) (answer, error) {
	if security.Peer(r.TLS) != "" {
		return answer{}, withoutCA()
	}
	state, _ := s.cfg.Cluster.View()
	peers := s.cfg.Cluster.Peers()
	for _, id := range state.MemberIDs() {
		if id == s.cfg.Self || !peers[id].Alive {
			continue
		}
		var joined Joined
		ctx, cancel := context.WithTimeout(r.Context(), hopTime)
		err := AskMember(ctx, s.cfg.Client, state.Members[id].API, "/cluster/join", body, &joined)
		cancel()
		var said *Error
		switch {
		case err == nil:
			return answer{body: joined}, nil
		case errors.As(err, &said) && said.Code != noCA:
			return answer{}, said
		}
		s.cfg.Log.Debug("a join was not taken", "subject", id, "err", err)
	}
	return answer{}, &Error{
		Status: http.StatusServiceUnavailable, Code: noCA, Message: "no member that has the key of the cluster's CA can be reached",
		Hint: "start the member on which roundtable init was run first, or copy its tls/ca.key to another one",
	}
}

// AskMember posts a JSON request to a manager's API and decodes the answer. What that refuses comes as an *Error.
func AskMember(ctx context.Context, client *http.Client, api, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(api, "/")+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if text, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return err
	}
	if resp.StatusCode == http.StatusOK {
		return json.Unmarshal(text, into)
	}
	var refused errorBody
	if err := json.Unmarshal(text, &refused); err != nil || refused.Error == nil {
		return fmt.Errorf("it answered %s", resp.Status)
	}
	refused.Error.Status = resp.StatusCode
	return refused.Error
}
