package api

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"roundtable/fsm"
)

// ownerOf is the other member that a host belongs to; "" for nobody's. What several members go by, such as one machine's name,
// is nobody's.
func ownerOf(host, member string, members map[string]fsm.Member) string {
	var owners []string
	for id, m := range members {
		if id != member && strings.EqualFold(id, host) {
			return id
		}
		if slices.ContainsFunc(hostsOf(m), func(h string) bool { return sameHost(h, host) }) {
			owners = append(owners, id)
		}
	}
	if loopback(host) || len(owners) != 1 || owners[0] == member {
		return ""
	}
	return owners[0]
}

// hostsOf are the names and addresses by which a member is reached.
func hostsOf(m fsm.Member) []string {
	var list []string
	for _, address := range []string{m.Raft, m.P2P} {
		if host, _, err := net.SplitHostPort(address); err == nil {
			list = append(list, host)
		}
	}
	if u, err := url.Parse(m.API); err == nil && u.Hostname() != "" {
		list = append(list, u.Hostname())
	}
	return list
}

// sameHost compares two hosts: names in any case, addresses however they are written.
func sameHost(a, b string) bool {
	if x, y := net.ParseIP(a), net.ParseIP(b); x != nil && y != nil {
		return x.Equal(y)
	}
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

// loopback reports that a host is the machine that says it.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() || strings.EqualFold(host, "localhost")
}

// atHome refuses a request to a sandbox, where everybody is an admin, that was sent to another name than this machine's: a web
// page can have a name of its own lead here, and is then of the same site as we are for the browser that shows it.
func (s *Server) atHome(r *http.Request) error {
	if _, local := localUser(r); local || !s.cfg.Sandbox || r.Host == "" {
		return nil
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if loopback(strings.Trim(host, "[]")) {
		return nil
	}
	return s.slowed(r, &Error{
		Status: http.StatusForbidden, Code: "cross_origin", Message: "a sandbox answers to localhost and 127.0.0.1 alone",
		Hint: "use http://127.0.0.1 and the port", refused: reasonCrossOrigin,
	})
}
