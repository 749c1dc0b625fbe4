package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"roundtable/cluster"
	"roundtable/cluster/control"
	"roundtable/cluster/health"
	"roundtable/fsm"
	"roundtable/meter"
)

// Cluster is what the API needs of the raft group and of gossip; *cluster.Cluster is one. No method may
// block but Raft and those that take a context.
type Cluster interface {
	View() (*fsm.State, <-chan struct{})
	Peers() map[string]health.Peer // this member included
	Leader() (id, addr string)     // empty: none is known here
	IsLeader() bool
	Metrics() cluster.Metrics
	Raft() cluster.RaftStatus // looks into raft's folder, which may take long on a bad disk

	Remove(ctx context.Context, id string) error             // of a member, for good
	TransferLeadership(ctx context.Context, to string) error // nil once the new leader has committed an entry; to "": any
}

// Control is what the API needs of the controllers; *control.Manager is one.
type Control interface {
	// Handoff starts a handoff and returns the operation's id, with its state applied here.
	Handoff(ctx context.Context, to, when, key string) (uint64, error)
	// These start rolling operations, as Handoff does.
	Restart(ctx context.Context, r control.RestartRequest, key string) (uint64, error)
	Upgrade(ctx context.Context, r control.UpgradeRequest, key string) (uint64, error)
	Rollout(ctx context.Context, limit, queue time.Duration, key string) (uint64, error)

	// The same for operations on backups.
	Backup(ctx context.Context, r control.BackupRequest, key string) (uint64, error)
	Restore(ctx context.Context, r control.RestoreRequest, key string) (uint64, error)
	Verify(ctx context.Context, r control.VerifyRequest, key string) (uint64, error)
	Sweep(ctx context.Context, r control.SweepRequest, key string) (uint64, error)
	Scan(ctx context.Context, r control.ScanRequest, key string) (uint64, error)

	RunPlan(ctx context.Context, id, key string) (uint64, error)

	// These may be repeated: they say how it is to be. It is so here once they return.
	SetBackup(ctx context.Context, c fsm.SetBackup) error
	ExpireBackup(ctx context.Context, id, why string) error
	PutPlan(ctx context.Context, p fsm.Plan) (fsm.Plan, error)
	SetPlan(ctx context.Context, id string, disabled bool) error
	RemovePlan(ctx context.Context, id string) error

	Candidates() []control.Candidate
	LeaseReason() string
	OperationReason(id uint64) string // why one that runs does not go on; "": it does, or who leads knows
	Doubled() uint64
	Extensions() control.Extensions

	// These change something by one entry each. They return the index under which it took effect, with its state applied here.
	SetMaintenance(ctx context.Context, member string, on bool, key string) (uint64, error) // "": the whole cluster
	SetMember(ctx context.Context, c fsm.SetMember, key string) (uint64, error)
	PatchCluster(ctx context.Context, c fsm.PatchCluster, key string) (uint64, error)
	Cancel(ctx context.Context, operation uint64, key string) (uint64, error) // a rolling one may go on until the member at work is through
	PutToken(ctx context.Context, t fsm.Token, key string) (uint64, error)
	RemoveToken(ctx context.Context, id, key string) (uint64, error)
	PutInvite(ctx context.Context, n fsm.Invite, key string) (uint64, error)
	UseInvite(ctx context.Context, c fsm.UseInvite, key string) (uint64, error)
}

// Config is what a Server is made of.
type Config struct {
	Self    string // this member's id
	Version string // of the program
	Cluster Cluster
	Control Control
	Local   func() Local // the local node and gate; nil: a witness. It must not block
	Client  *http.Client // to ask the other members' APIs with; nil: http.DefaultTransport, no TLS of the cluster's
	Sandbox bool         // everybody is an admin: loopback only, for trying things out
	// Overlay says what is wrong with lines of config.ini that are to be laid over every member's: *fsm.Refusal, without a key that
	// may stand in them. nil: they are not looked at.
	Overlay func(lines string) error
	// CAs gives the fingerprints of the CAs that the cluster believes (security.Fingerprint), for who is to join. nil: a cluster
	// without TLS, which nobody can join over the API.
	CAs func() []string
	// Authority signs the certificates of members; nil where CAs is.
	Authority Authority
	// Certificate is when this member's ends, and what is wrong with it or its renewal, "" for nothing. nil, or a zero time:
	// there is none.
	Certificate func() (ends time.Time, problem string)
	// Handshakes counts those that raft's side refused, by reason; nil: there is no TLS.
	Handshakes func() map[string]uint64
	Now        func() time.Time
	Log        *slog.Logger
}

// Bounds of one request.
const (
	maxBody      = 64 << 10         // bytes of a request
	maxAnswer    = 1 << 20          // bytes of another member's answer
	maxHeader    = 16 << 10         // bytes of a request's header
	maxWait      = time.Hour        // of ?wait=
	proposeTime  = 10 * time.Second // for a change to be committed
	askTime      = time.Second      // for another member to answer
	leaderTime   = time.Second      // for a leader to be known before a change is asked for: longer than an election
	shutdownTime = 3 * time.Second  // for requests under way when the server stops
)

// Server answers the API's requests. It holds no state of its own but what it last saw of the raft group, and who asked.
type Server struct {
	cfg         Config
	started     time.Time
	handler     http.Handler
	registry    *prometheus.Registry
	scrape      http.Handler
	voters      voters
	clients     clients
	connections connections
	refusals    meter.Tally
	requests    requests
	transfers   repeats[LeaderMoved]
	joins       alarms
	streams     streams
	stopping    atomic.Bool // set by Drain, never unset
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
	if cfg.Certificate == nil {
		cfg.Certificate = func() (time.Time, string) { return time.Time{}, "" }
	}
	if cfg.Handshakes == nil {
		cfg.Handshakes = func() map[string]uint64 { return nil }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg: cfg, started: cfg.Now(), registry: prometheus.NewRegistry(), voters: voters{raft: cfg.Cluster.Raft},
		connections: connections{held: map[net.Conn]string{}, each: map[string]int{}},
	}
	if err := s.register(); err != nil {
		return nil, err
	}
	for _, reason := range reasons {
		s.refusals.Add(reason, 0)
	}
	s.scrape = s.metricsHandler()
	s.handler = s.router()
	return s, nil
}

// Registry is where the rest of the program adds its own metrics.
func (s *Server) Registry() *prometheus.Registry { return s.registry }

// ServeHTTP answers one request; Serve does it for a listener.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Drain says that this manager is about to stop: from now on it is not ready, and takes no change. It goes on answering
// until Serve's context ends. Any goroutine may call it.
func (s *Server) Drain() { s.stopping.Store(true) }

// Serve answers requests until ctx ends; then those under way have a few seconds, and waiting ones are told at once that
// their operation goes on. Who asks through a listener of ListenLocal needs no token; a TLS listener must have verified the
// certificate that a client shows, if it shows one (security.Keeper.API). Serve closes the listeners. nil after an ordered
// end.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	srv := &http.Server{
		Handler: s, ReadHeaderTimeout: headerTime, ReadTimeout: readTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return ctx }, ConnContext: withLocalUser, ConnState: s.connState,
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { served <- srv.Serve(l) }()
	}
	var failed error
	select {
	case failed = <-served:
		served <- http.ErrServerClosed
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	err := srv.Shutdown(grace)
	if err != nil {
		err = errors.Join(err, srv.Close())
	}
	for range listeners {
		if end := <-served; !errors.Is(end, http.ErrServerClosed) {
			err = errors.Join(err, end)
		}
	}
	return errors.Join(failed, err)
}

// write sends one answer. The client may be gone: that is its affair.
func write(w http.ResponseWriter, status int, body any) {
	v := encode(body)
	shown(w, writeTime)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", v.kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(v.text))) // else what is longer than a buffer goes in chunks
	w.WriteHeader(status)
	_, _ = w.Write(v.text)
}

// encode makes an answer ready to be sent.
func encode(body any) verbatim {
	switch body := body.(type) {
	case verbatim:
		return body
	case string:
		return verbatim{"text/plain; charset=utf-8", []byte(body + "\n")}
	}
	b, err := json.Marshal(body)
	if err != nil {
		panic(err) // cannot happen: the views are plain structs
	}
	return verbatim{"application/json", append(b, '\n')}
}

// metrics answers a scrape.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) error {
	shown(w, scrapeTime)
	s.scrape.ServeHTTP(w, r)
	return nil
}
