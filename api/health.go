package api

import (
	"net/http"
	"strings"
)

// healthRoles are the checks of GET /health/:role.
var healthRoles = []string{"live", "ready", "synced", "holder", "standby", "leader"}

// getHealth answers 200 or 503, with the reason in one line of text. It takes no token and waits for nothing.
func (s *Server) getHealth(r *http.Request) (answer, error) {
	why, known := s.health(r.PathValue("role"))
	switch {
	case !known:
		return answer{}, noHealth()
	case why != "":
		return answer{status: http.StatusServiceUnavailable, body: why}, nil
	}
	return answer{body: "ok"}, nil
}

// noHealth is the answer where there is no check; it names those there are.
func noHealth() *Error {
	return &Error{Status: http.StatusNotFound, Code: "unknown_path", Message: "there is no such health check", Hint: "the checks are: /health/" + strings.Join(healthRoles, ", ")}
}

// health says why this member is not what is asked, "" if it is.
//
//	live     the program answers
//	ready    it is a member, knows the leader, its node runs (a witness has none), and it is not about to stop
//	synced   its node is healthy and its head is near the best one
//	holder   it holds the lease, for the slot now
//	standby  it does not hold the lease, could be given it, and is not about to stop
//	leader   it leads the raft group
func (s *Server) health(role string) (why string, known bool) {
	switch {
	case role == "live":
		return "", true
	case s.stopping.Load() && (role == "ready" || role == "standby"):
		return "this manager is stopping", true
	}
	v := s.glance()
	own, member := v.state.Members[s.cfg.Self]
	m := v.member(s.cfg.Self)
	report := v.peers[s.cfg.Self].Report
	holds := v.held() && v.state.Lease.Holder == s.cfg.Self && m.Sealed == ""
	no := func(good bool, reason string) (string, bool) {
		if good {
			return "", true
		}
		return reason, true
	}
	switch {
	case role == "leader":
		return no(v.leading, "this member does not lead")
	case !member:
		_, known := map[string]bool{"ready": true, "synced": true, "holder": true, "standby": true}[role]
		return "not a member yet", known
	}
	switch role {
	case "ready":
		if v.leader == "" {
			return "no leader is known", true
		}
		return no(own.Witness || m.Node == "running", words("the node is "+m.Node))
	case "synced":
		if !report.Fit {
			return "the node is not healthy: " + words(report.Reason), true
		}
		return no(m.Lag <= syncedLag, "the head is behind")
	case "holder":
		return no(holds, "this member does not hold the lease")
	case "standby":
		if holds {
			return "this member holds the lease", true
		}
		return no(m.Fit, "not fit: "+m.Reason)
	}
	return "", false
}

// syncedLag is how many slots behind the best head still counts as synced; as for candidates (control/fitness.go).
const syncedLag = 2
