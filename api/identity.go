package api

import (
	"context"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"

	"roundtable/security"
)

// Role is what a caller may do, and what a route asks for. Each may do what the one before it may.
type Role string

// The roles. None is what open routes ask for; Peer is nobody's role but the mark of the routes that only another
// member's certificate opens.
const (
	None    Role = "none"
	Read    Role = "read"
	Operate Role = "operate"
	Admin   Role = "admin"
	Peer    Role = "member"
)

var ranks = []Role{None, Read, Operate, Admin}

// covers reports whether a caller of role r may do what asks for want.
func (r Role) covers(want Role) bool {
	return slices.Contains(ranks, want) && slices.Index(ranks, r) >= slices.Index(ranks, want)
}

// Identity is who asks.
type Identity struct {
	Actor  string // as it stands in the history: token:NAME, member:ID, local:UID, sandbox; "" for nobody
	Role   Role
	Member string // the id, where it is another member by its certificate
}

// identify finds out who asks: by the socket that the request came through, by its token, by its certificate. A token
// that is given must be good: whoever shows one does not want to be taken for somebody else. No credentials at all are no
// error: the identity is then nobody's, with the role None.
func (s *Server) identify(r *http.Request) (Identity, error) {
	if uid, ok := localUser(r); ok {
		return Identity{Actor: fmt.Sprintf("local:%d", uid), Role: Admin}, nil
	}
	if s.cfg.Sandbox {
		return Identity{Actor: "sandbox", Role: Admin}, nil
	}
	if given := r.Header["Authorization"]; len(given) > 0 {
		return s.byToken(given)
	}
	if id := security.Peer(r.TLS); id != "" {
		return s.byCertificate(id, r.TLS.PeerCertificates[0])
	}
	return Identity{Role: None}, nil
}

func (s *Server) byToken(given []string) (Identity, error) {
	text, id, ok := bearer(given)
	if !ok {
		return Identity{}, unauthenticated(reasonBadToken, "the Authorization header holds no token of a roundtable cluster")
	}
	state, _ := s.cfg.Cluster.View()
	t, known := state.Tokens[id]
	switch {
	case subtle.ConstantTimeCompare([]byte(security.HashToken(text)), []byte(t.Hash)) != 1 || !known:
		return Identity{}, unauthenticated(reasonBadToken, "the token is not known here")
	case t.Expires != 0 && s.cfg.Now().UnixMilli() >= t.Expires:
		return Identity{}, unauthenticated(reasonExpiredToken, "the token %s ended at %s", t.Name, stamp(t.Expires))
	}
	return Identity{Actor: "token:" + t.Name, Role: Role(t.Role)}, nil
}

// bearer takes a token out of the values of the Authorization header.
func bearer(given []string) (text, id string, ok bool) {
	if len(given) != 1 {
		return "", "", false
	}
	scheme, text, _ := strings.Cut(given[0], " ")
	text = strings.TrimSpace(text)
	id, err := security.ParseToken(text)
	return text, id, err == nil && strings.EqualFold(scheme, "bearer")
}

// byCertificate takes the TLS layer's word for the certificate, and looks again at what may have changed since the handshake.
func (s *Server) byCertificate(id string, c *x509.Certificate) (Identity, error) {
	state, _ := s.cfg.Cluster.View()
	switch {
	case s.cfg.Now().After(c.NotAfter):
		return Identity{}, unauthenticated(reasonExpiredCertificate, "the certificate of %.64q ended at %s", id, stamp(c.NotAfter.UnixMilli()))
	case security.Predates(c, state.Admitted(id)):
		return Identity{}, unauthenticated(security.ReasonPredecessor, "the certificate is of another machine, which had the id %.64q before", id)
	case banned(s.cfg.Cluster, id):
		return Identity{}, unauthenticated(reasonRemoved, "the member %.64q was removed from the cluster", id)
	}
	return Identity{Actor: "member:" + id, Role: Read, Member: id}, nil
}

// banned reports that an operator removed the member.
func banned(c Cluster, id string) bool {
	state, _ := c.View()
	_, yes := state.Banned[id]
	return yes
}

// authorize refuses who may not do what the route does.
func authorize(who Identity, want Role) error {
	switch {
	case want == Peer && who.Member != "", want != Peer && who.Role.covers(want):
		return nil
	case who.Role == None:
		return unauthenticated(reasonNoToken, "this needs a token")
	case want == Peer:
		return &Error{Status: http.StatusForbidden, Code: "forbidden", Message: "this is for another member, with its certificate; you are " + who.Actor, Hint: "the managers do it by themselves", refused: reasonRole}
	}
	return &Error{
		Status: http.StatusForbidden, Code: "forbidden", Message: fmt.Sprintf("this needs the role %s; %s has %s", want, who.Actor, who.Role),
		Hint: "use a token of that role; one with the role admin can make one: roundtable token add", refused: reasonRole,
	}
}

func unauthenticated(reason, format string, args ...any) *Error {
	return &Error{
		Status: http.StatusUnauthorized, Code: "unauthenticated", Message: fmt.Sprintf(format, args...),
		Hint: "send Authorization: Bearer rt1_..., or on the manager's own machine use --home DIR, which needs no token", refused: reason,
	}
}

// call is what belongs to one request while it is served.
type call struct {
	route string // its path with :names, not what the client wrote there
	who   Identity
}

type (
	callKey  struct{}
	localKey struct{} // the uid of who asks over the manager's own socket
)

// callOf is the request's call. Every handler of a route has one.
func callOf(r *http.Request) call {
	c, _ := r.Context().Value(callKey{}).(call)
	return c
}

// localUser is the uid of who asks over the manager's own socket.
func localUser(r *http.Request) (uid uint32, ok bool) {
	uid, ok = r.Context().Value(localKey{}).(uint32)
	return uid, ok
}

// ListenLocal listens on a manager's own socket. Whoever may open the file owns the manager's home, and so needs no token.
// A socket that a dead process left is taken away: the caller holds the lock of the home.
func ListenLocal(path string) (net.Listener, error) {
	switch info, err := os.Lstat(path); {
	case err == nil && info.Mode().Type() != os.ModeSocket:
		return nil, fmt.Errorf("api: %s exists and is no socket (hint: move it away)", path)
	case err == nil:
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("api: the old socket: %w", err)
		}
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("api: the manager's own socket: %w (hint: a home with a short path)", err)
	}
	if err := os.Chmod(path, 0o600); err != nil { // whoever came in between is turned away by localUser
		return nil, fmt.Errorf("api: the manager's own socket: %w", errors.Join(err, l.Close()))
	}
	return l, nil
}

// withLocalUser marks the requests of a connection through a unix socket. The kernel says who is at its other end.
func withLocalUser(ctx context.Context, c net.Conn) context.Context {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	uid, err := peerUser(u)
	if err != nil || uid != 0 && int(uid) != os.Geteuid() {
		c.Close()
		return ctx
	}
	return context.WithValue(ctx, localKey{}, uid)
}

func peerUser(c *net.UnixConn) (uid uint32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		if failed = err; err == nil {
			uid = cred.Uid
		}
	}); err != nil {
		return 0, err
	}
	return uid, failed
}
