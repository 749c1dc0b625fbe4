package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"roundtable/cluster"
	"roundtable/cluster/control"
	"roundtable/cluster/health"
	"roundtable/fsm"
)

// Cluster is what the API needs of the raft group and of gossip; *cluster.Cluster is one. No method but Raft may block.
type Cluster interface {
	View() (*fsm.State, <-chan struct{})
	Peers() map[string]health.Peer // this member included
	Leader() (id, addr string)     // empty: none is known here
	IsLeader() bool
	Metrics() cluster.Metrics
	Raft() cluster.RaftStatus // looks into raft's folder, which may take long on a bad disk
}

// Control is what the API needs of the controllers; *control.Manager is one.
type Control interface {
	// Handoff starts a handoff and returns the operation's id, with its state applied here.
	Handoff(ctx context.Context, to, when, key string) (uint64, error)
	Candidates() []control.Candidate
	LeaseReason() string
	Doubled() uint64
}

// Config is what a Server is made of.
type Config struct {
	Self    string // this member's id
	Version string // of the program
	Cluster Cluster
	Control Control
	Local   func() Local // the local node and gate; nil: a witness. It must not block
	Client  *http.Client // to ask the other members' APIs with; nil: http.DefaultTransport, no TLS of the cluster's
	Now     func() time.Time
	Log     *slog.Logger
}

// Bounds of one request.
const (
	maxBody      = 1 << 20          // bytes
	maxWait      = 10 * time.Minute // of ?wait=
	proposeTime  = 10 * time.Second // for a change to be committed
	askTime      = time.Second      // for another member to answer
	leaderTime   = time.Second      // for a leader to be known before a change is asked for: longer than an election
	shutdownTime = 3 * time.Second  // for requests under way when the server stops
)

// Server answers the API's requests. It holds no state of its own but what it last saw of the raft group.
type Server struct {
	cfg      Config
	started  time.Time
	handler  http.Handler
	registry *prometheus.Registry
	voters   voters
}

// New makes a Server; it starts nothing.
func New(cfg Config) (*Server, error) {
	if cfg.Self == "" || cfg.Cluster == nil || cfg.Control == nil {
		return nil, errors.New("api: member id, cluster and control are required")
	}
	if cfg.Local == nil {
		cfg.Local = func() Local { return Local{} }
	}
	if cfg.Client == nil {
		cfg.Client = &http.Client{}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, started: cfg.Now(), registry: prometheus.NewRegistry(), voters: voters{raft: cfg.Cluster.Raft}}
	if err := s.register(); err != nil {
		return nil, err
	}
	s.handler = s.router()
	return s, nil
}

// Registry is where the rest of the program adds its own metrics.
func (s *Server) Registry() *prometheus.Registry { return s.registry }

// ServeHTTP answers one request; Serve does it for a listener.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Serve answers requests until ctx ends; then those under way have a few seconds, and waiting ones are told at once that
// their operation goes on. It closes the listener. nil after an ordered end.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: s, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	err := srv.Shutdown(grace)
	if err != nil {
		err = errors.Join(err, srv.Close())
	}
	if end := <-served; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	return err
}

// answer is what a handler says. Status 0 is 200.
type answer struct {
	status   int
	location string
	body     any // JSON, or text where it is a string
}

// handler answers a request; path parameters are in r.PathValue.
type handler func(r *http.Request) (answer, error)

func (s *Server) router() http.Handler {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = func(err error, c echo.Context) { s.fail(c.Response(), c.Request(), err) }
	for _, r := range []struct {
		method, path string
		handle       handler
	}{
		{http.MethodGet, "/cluster", s.getCluster},
		{http.MethodGet, "/cluster/raft", s.getRaft},
		{http.MethodGet, "/cluster/members", s.getMembers},
		{http.MethodGet, "/cluster/members/:id", s.getMember},
		{http.MethodGet, "/cluster/lease", s.getLease},
		{http.MethodGet, "/cluster/round", s.getRound},
		{http.MethodGet, "/cluster/operations", s.getOperations},
		{http.MethodGet, "/cluster/operations/:id", s.getOperation},
		{http.MethodGet, "/cluster/history", s.getHistory},
		{http.MethodPost, "/cluster/handoff", s.postHandoff},
		{http.MethodGet, "/health/:role", s.getHealth},
		{http.MethodGet, "/health", noHealth},
		{http.MethodGet, "/health/", noHealth},
		{http.MethodGet, "/healthz", noHealth},
		{http.MethodGet, "/version", s.getVersion},
	} {
		e.Add(r.method, r.path, s.plain(r.handle))
		if r.method == http.MethodGet {
			e.Add(http.MethodHead, r.path, s.plain(r.handle))
		}
	}
	e.GET("/metrics", echo.WrapHandler(s.metricsHandler()))

	// A web page that a browser on an operator's machine shows must not be able to hand production over.
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, &Error{Status: http.StatusForbidden, Code: "cross_origin", Message: "the request comes from another site's page", Hint: "use the roundtable command, or a page served by this address"})
	}))
	return guard.Handler(e)
}

// plain ties a handler to the router.
func (s *Server) plain(h handler) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		r := c.Request()
		defer func() {
			if p := recover(); p != nil {
				s.cfg.Log.Error("a request panicked", "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		for i, name := range c.ParamNames() {
			r.SetPathValue(name, c.ParamValues()[i])
		}
		r.Body = http.MaxBytesReader(c.Response(), r.Body, maxBody)
		a, err := h(r)
		if err != nil {
			return err
		}
		if a.location != "" {
			c.Response().Header().Set("Location", a.location)
		}
		write(c.Response(), max(a.status, http.StatusOK), a.body)
		return nil
	}
}

// write sends one answer. The client may be gone: that is its affair.
func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Cache-Control", "no-store")
	if text, ok := body.(string); ok {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text + "\n"))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	b, err := json.Marshal(body)
	if err != nil { // cannot happen: the views are plain structs
		status, b = http.StatusInternalServerError, []byte(`{"error":{"code":"internal","message":"the answer could not be encoded","hint":"see the log"}}`)
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}

func (s *Server) getVersion(*http.Request) (answer, error) {
	return answer{body: Version{Version: s.cfg.Version, Go: runtime.Version(), EntryVersion: fsm.EntryVersion}}, nil
}
