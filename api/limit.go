package api

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"roundtable/security"
)

// What one client may ask for in a second, and at once after a pause. A client is a token, another member, whoever uses the
// manager's own socket, or, for strangers, an address (for IPv6 the network of 64 bits that one machine has): a stranger behind
// the same proxy as an operator does not use up what that one may ask for.
const (
	readRate, readBurst           = 10_000, 2_000
	changeRate, changeBurst       = 20, 40
	failureRate, failureBurst     = 10, 20   // who fails to be somebody, or asks for what it may not: a good request is taken all the same
	handshakeRate, handshakeBurst = 200, 400 // of TLS: always an address's
)

// Bounds of what strangers can make this manager hold.
const (
	keptClients    = 4096 // addresses remembered
	maxConnections = 1024 // open at once, and of one client:
	maxConnsEach   = 256
)

// client is one client's allowance.
type client struct{ reads, changes, failures, handshakes *rate.Limiter }

// clients are the allowances of those that asked lately. It forgets by generations: when the young one is half of what may
// be kept, it becomes the old one, and who is in neither starts anew.
type clients struct {
	mu         sync.Mutex
	young, old map[string]*client
}

func (c *clients) of(name string) *client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.young[name]; known != nil {
		return known
	}
	known := c.old[name]
	if known == nil {
		known = &client{
			rate.NewLimiter(readRate, readBurst), rate.NewLimiter(changeRate, changeBurst),
			rate.NewLimiter(failureRate, failureBurst), rate.NewLimiter(handshakeRate, handshakeBurst),
		}
	}
	if c.young == nil || len(c.young) >= keptClients/2 {
		c.young, c.old = map[string]*client{}, c.young
	}
	c.young[name] = known
	return known
}

// localClient is who asks over the manager's own socket.
const localClient = "local"

// clientOf names the client behind a connection's remote address.
func clientOf(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return localClient
	}
	a, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return host
	case a.Is6() && !a.Is4In6():
		p, _ := a.WithZone("").Prefix(64) // 64 bits of an IPv6 address there are always
		return p.String()
	}
	return a.Unmap().String()
}

// acts reports whether a request may change something.
func acts(r *http.Request) bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions
}

// limited refuses who asks too often.
func (s *Server) limited(r *http.Request, who Identity) error {
	name, of := who.Actor, who.Actor
	if name == "" {
		name, of = clientOf(r.RemoteAddr), "one address"
	}
	c := s.clients.of(name)
	if acts(r) && !c.changes.Allow() {
		return tooOften("at most %d changes a second are taken from %s", changeRate, of)
	}
	if !c.reads.Allow() {
		return tooOften("at most %d requests a second are taken from %s", readRate, of)
	}
	return nil
}

// slowed turns the refusal of who asks into a plain "too often" where there were too many from its address: a guesser
// learns nothing more, and the log stays readable.
func (s *Server) slowed(r *http.Request, failed *Error) error {
	if s.clients.of(clientOf(r.RemoteAddr)).failures.Allow() {
		return failed
	}
	return tooOften("at most %d refusals a second are explained to %s", failureRate, "one address")
}

func tooOften(format string, limit int, of string) *Error {
	e := badInput("ask again in a second", format, limit, of)
	e.Status, e.Code, e.refused = http.StatusTooManyRequests, "rate_limited", reasonRate
	return e
}

// connections bounds how many are open.
type connections struct {
	mu   sync.Mutex
	held map[net.Conn]string
	each map[string]int
}

// connState follows a connection, as http.Server.ConnState tells of it. One too many is closed, before its TLS handshake; the
// manager's own socket has none too many, so that an operator gets in while others are kept out.
func (s *Server) connState(c net.Conn, state http.ConnState) {
	if state == http.StateActive || state == http.StateIdle { // with every request
		return
	}
	name := clientOf(c.RemoteAddr().String())
	k := &s.connections
	k.mu.Lock()
	defer k.mu.Unlock()
	switch state {
	case http.StateNew:
		_, secure := c.(*tls.Conn)
		tooFast := secure && !s.clients.of(name).handshakes.Allow()
		if name != localClient && (tooFast || len(k.held) >= maxConnections || k.each[name] >= maxConnsEach) {
			s.Refuse(reasonConnections)
			go c.Close() // a TLS connection says goodbye first, which can take a moment
			return
		}
		k.held[c] = name
		k.each[name]++
	case http.StateClosed, http.StateHijacked:
		if _, ok := k.held[c]; !ok {
			return
		}
		delete(k.held, c)
		if k.each[name]--; k.each[name] == 0 {
			delete(k.each, name)
		}
	}
}

// Why requests are refused, as counted.
const (
	reasonNoToken            = "no_token"
	reasonBadToken           = "bad_token"
	reasonExpiredToken       = "expired_token"
	reasonExpiredCertificate = "expired_certificate"
	reasonRemoved            = "removed_member"
	reasonInvite             = "invite"
	reasonRole               = "role"
	reasonRate               = "rate"
	reasonTooLarge           = "too_large"
	reasonConnections        = "connections"
	reasonStreams            = "streams"
	reasonCrossOrigin        = "cross_origin"
)

var reasons = []string{
	reasonNoToken, reasonBadToken, reasonExpiredToken, reasonExpiredCertificate, reasonRemoved, reasonInvite, reasonRole, reasonRate, reasonTooLarge,
	reasonConnections, reasonStreams, reasonCrossOrigin, security.ReasonForeign, security.ReasonPredecessor, security.ReasonOther,
}

// Refuse counts a refusal that the API itself does not see, such as "foreign_certificate" in the TLS handshake. A reason is
// one of few fixed words: each is a time series. Any goroutine may call it.
func (s *Server) Refuse(reason string) { s.refusals.Add(reason, 1) }

// Refused is how many requests were refused since this manager started, by reason.
func (s *Server) Refused() map[string]uint64 { return s.refusals.Read() }

// Time limits of one connection.
const (
	headerTime = 5 * time.Second  // to send a request's header
	readTime   = 10 * time.Second // to send all of it
	writeTime  = 10 * time.Second // to take an answer
	scrapeTime = 15 * time.Second // to make the metrics and to take them
	idleTime   = 2 * time.Minute  // between two requests
)
