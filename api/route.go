package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"roundtable/cluster"
)

// route is one line of the API's contract. openapi.yaml says the same, and a test holds the two together.
type route struct {
	method, path string
	role         Role     // the least that the caller must have
	query        []string // the parameters that it takes; anything for all
	body         bool     // it takes a JSON object
	handle       handler
	stream       streamer // instead of handle
}

// anything in a route's query lets all pass: load balancers add what they like.
const anything = "*"

// answer is what a handler says. Status 0 is 200.
type answer struct {
	status   int
	location string
	body     any // JSON, or text where it is a string, or what it is where it is of type verbatim
}

// verbatim is an answer that is ready to be sent.
type verbatim struct {
	kind string // Content-Type
	text []byte
}

// handler answers a request; path parameters are in r.PathValue, who asks in callOf.
type handler func(r *http.Request) (answer, error)

// streamer writes its answer itself. An error before the first byte is answered like a handler's.
type streamer func(w http.ResponseWriter, r *http.Request) error

// routes is every route there is.
func (s *Server) routes() []route {
	const get, post, patch, remove = http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete
	return []route{
		{get, "/cluster", Read, nil, false, s.shared(func(v sight) any { return v.overview() }), nil},
		{get, "/cluster/raft", Read, []string{"all"}, false, s.getRaft, nil},
		{get, "/cluster/members", Read, nil, false, s.shared(func(v sight) any { return v.members() }), nil},
		{get, "/cluster/members/:id", Read, nil, false, s.getMember, nil},
		{get, "/cluster/lease", Read, nil, false, s.shared(func(v sight) any { return v.leases() }), nil},
		{get, "/cluster/round", Read, nil, false, s.shared(func(v sight) any { return v.round() }), nil},
		{get, "/cluster/operations", Read, nil, false, s.getOperations, nil},
		{get, "/cluster/operations/:id", Read, nil, false, s.getOperation, nil},
		{get, "/cluster/history", Read, []string{"limit"}, false, s.getHistory, nil},

		{get, "/cluster/config", Read, nil, false, s.getConfig, nil},

		{post, "/cluster/handoff", Operate, []string{"wait"}, true, s.postHandoff, nil},
		{post, "/cluster/restart", Operate, []string{"wait"}, true, s.postRestart, nil},
		{post, "/cluster/upgrade", Operate, []string{"wait"}, true, s.postUpgrade, nil},
		{post, "/cluster/rollout", Operate, []string{"wait"}, true, s.postRollout, nil},

		{get, "/cluster/backups", Read, []string{"kind", "state", "repository", "member"}, false, s.getBackups, nil},
		{get, "/cluster/backups/:id", Read, nil, false, s.getBackup, nil},
		{post, "/cluster/backup", Operate, []string{"wait"}, true, s.postBackup, nil},
		{post, "/cluster/backups/:id/restore", Operate, []string{"wait"}, true, s.postRestore, nil},
		{post, "/cluster/backups/:id/verify", Operate, []string{"wait"}, true, s.postVerify, nil},
		{post, "/cluster/backups/sweep", Operate, []string{"wait"}, true, s.postSweep, nil}, // unknown needs Admin
		{post, "/cluster/backups/scan", Operate, []string{"wait"}, true, s.postScan, nil},
		{patch, "/cluster/backups/:id", Operate, nil, true, s.patchBackup, nil}, // to let it go sooner needs Admin
		{remove, "/cluster/backups/:id", Admin, nil, false, s.deleteBackup, nil},
		{get, "/cluster/plans", Read, nil, false, s.getPlans, nil},
		{get, "/cluster/plans/:id", Read, nil, false, s.getPlan, nil},
		{post, "/cluster/plans", Operate, nil, true, s.postPlan, nil}, // unknown needs Admin
		{patch, "/cluster/plans/:id", Operate, nil, true, s.patchPlan, nil},
		{remove, "/cluster/plans/:id", Operate, nil, false, s.deletePlan, nil},
		{post, "/cluster/plans/:id/run", Operate, []string{"wait"}, false, s.runPlan, nil},

		{post, "/cluster/maintenance", Operate, nil, true, s.postMaintenance, nil},
		{post, "/cluster/leader/transfer", Operate, nil, true, s.postTransfer, nil},
		{remove, "/cluster/operations/:id", Operate, nil, false, s.deleteOperation, nil},
		{patch, "/cluster/members/:id", Operate, nil, true, s.patchMember, nil}, // voter needs Admin

		{post, "/cluster/join", None, nil, true, s.postJoin, nil}, // it has an invite
		{post, "/cluster/certificate", Peer, nil, true, s.postCertificate, nil},

		{post, "/cluster/members", Admin, nil, true, s.postMember, nil},
		{remove, "/cluster/members/:id", Admin, nil, false, s.deleteMember, nil},
		{patch, "/cluster/config", Admin, nil, true, s.patchConfig, nil},
		{get, "/cluster/tokens", Admin, nil, false, s.getTokens, nil},
		{post, "/cluster/tokens", Admin, nil, true, s.postToken, nil},
		{remove, "/cluster/tokens/:id", Admin, nil, false, s.deleteToken, nil},

		{get, "/cluster/events", Read, []string{"since"}, false, nil, s.getEvents},
		{get, "/debug/pprof/", Admin, nil, false, nil, s.getProfile},
		{get, "/debug/pprof/:name", Admin, []string{"seconds", "debug", "gc"}, false, nil, s.getProfile},
		{get, "/openapi.yaml", None, nil, false, s.getOpenAPI, nil},

		{get, "/metrics", Read, []string{anything}, false, nil, s.metrics},
		{get, "/health/:role", None, []string{anything}, false, s.getHealth, nil},
		{get, "/version", None, nil, false, s.getVersion, nil},
	}
}

func (s *Server) router() http.Handler {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		if errors.Is(err, echo.ErrNotFound) && strings.HasPrefix(c.Request().URL.Path, "/health") {
			err = noHealth()
		}
		s.fail(c.Response(), c.Request(), err)
	}
	e.Use(s.counted(s.routes()))
	for _, rt := range s.routes() {
		e.Add(rt.method, rt.path, s.serve(rt))
		if rt.method == http.MethodGet {
			e.Add(http.MethodHead, rt.path, s.serve(rt))
		}
	}

	// A web page that a browser on an operator's machine shows must not be able to hand production over.
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, s.slowed(r, &Error{
			Status: http.StatusForbidden, Code: "cross_origin", Message: "the request comes from another site's page",
			Hint: "use the roundtable command, or a page served by this address", refused: reasonCrossOrigin,
		}))
	}))
	guarded := guard.Handler(e)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.atHome(r); err != nil {
			s.fail(w, r, err)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// serve ties a route to the router: who asks, whether they may, what they ask with, and the answer.
func (s *Server) serve(rt route) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		w, r := c.Response(), c.Request()
		defer func() {
			if p := recover(); p != nil {
				s.cfg.Log.Error("a request panicked", "method", rt.method, "route", rt.path, "panic", p, "stack", string(debug.Stack()))
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		who, refusal := s.admit(r, rt.role)
		call := call{route: rt.path, who: who}
		r = r.WithContext(cluster.WithActor(context.WithValue(r.Context(), callKey{}, call), who.Actor))
		c.SetRequest(r)
		if refusal != nil {
			return refusal
		}
		for i, name := range c.ParamNames() {
			r.SetPathValue(name, c.ParamValues()[i])
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if err := rt.check(r); err != nil {
			return err
		}
		if rt.stream != nil {
			return rt.stream(w, r)
		}
		a, err := rt.handle(r)
		if err != nil {
			return err
		}
		if a.location != "" {
			w.Header().Set("Location", a.location)
		}
		write(w, max(a.status, http.StatusOK), a.body)
		return nil
	}
}

// admit finds out who asks, whether they may, and whether not too often.
func (s *Server) admit(r *http.Request, want Role) (Identity, error) {
	if want == None { // a bad token does not keep a health check from its answer
		who := Identity{Role: None}
		return who, s.limited(r, who)
	}
	who, err := s.identify(r)
	if often := s.limited(r, who); often != nil {
		return who, often
	}
	if err == nil {
		err = authorize(who, want)
	}
	var refusal *Error
	if errors.As(err, &refusal) {
		return who, s.slowed(r, refusal)
	}
	return who, err
}

// check refuses what the route does not take, before anything is done.
func (rt route) check(r *http.Request) error {
	if slices.Contains(rt.query, anything) {
		return nil
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return badInput("percent-encode what is not a letter or a digit", "the query is not well-formed: %v", err)
	}
	takes := "this path takes no parameters"
	if len(rt.query) > 0 {
		takes = "the parameters are: " + strings.Join(rt.query, ", ")
	}
	for name, values := range q {
		switch {
		case !slices.Contains(rt.query, name):
			return badInput(takes, "unknown parameter %.64q", name)
		case len(values) > 1:
			return badInput(takes, "the parameter %q is given %d times", name, len(values))
		}
	}
	if rt.body || r.ContentLength == 0 {
		return nil
	}
	if n, err := io.ReadFull(r.Body, make([]byte, 1)); n > 0 || err != io.EOF {
		return badInput("send it without a body", "%s %s takes no body", r.Method, rt.path)
	}
	return nil
}

// shown is how long a client may take to take an answer.
func shown(w http.ResponseWriter, d time.Duration) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d)) // what cannot be limited is a test's recorder
}
