package drill

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"roundtable/api"
	"roundtable/node/k1"
)

// Options are what a sandbox is made of.
type Options struct {
	Dir        string        // where everything lives; a new temporary folder if empty
	Managers   int           // default 3
	Roundtable string        // path of the roundtable binary; default: this program
	Nodeos     string        // path of nodeos; default: simnodeos beside this program
	NodeosNext string        // path of another version of nodeos; default: see layVersions
	Versions   bool          // every member has two versions in its home, to upgrade to
	Latency    time.Duration // one-way, between the members; makes a wire
	Loss       float64       // part of what is sent that gets lost, 0..1; makes a wire
	Keosd      bool          // the drill serves each member's signer, so that it can be slow, hang or die
	Wire       bool          // proxies between the members, so that Cut, SetLatency and SetLoss work
	Namespaces bool          // a network namespace for each member does that, in the kernel; needs root
	LogLevel   string        // of the managers, default info
	Env        []string      // NAME=VALUE, added to the managers' environment
	Baseline   string        // one of the usual ways of doing the job instead of Roundtable: LeaderSigns or Keepalived
	Secure     bool          // TLS, tokens and encrypted gossip, as an operator has it: faults from within (clock, disk) are not to be had then
	Producers  int           // on the chain: 1 (default), or more of which one is ours and a node of the sandbox has the others
}

// Sandbox is a whole cluster on this machine, loopback only: managers as processes of their own, each with its node.
type Sandbox struct {
	Dir      string
	Producer string
	Members  []*Member
	opts     Options
	system   system
	http     *http.Client
	network  network      // nil without Options.Wire, and while nothing runs
	rest     *rest        // nil where all slots are ours
	versions []version    // beside genesis; none without Options.Versions
	signing  bool         // the signers are served
	secure   *secure      // nil without Options.Secure
	kept     []ChainBlock // of the chain, from block 2 on: Remember
}

// Member is one manager of a sandbox.
type Member struct {
	ID      string
	Home    string
	API     string // URL
	Program string // of its manager from the next start on; "": Options.Roundtable
	host    string // listened on for raft, gossip and p2p
	front   string // the same as the others know it: the wire's, where there is one
	api     int
	raft    int
	gossip  int
	http    int // of its node
	p2p     int
	client  *http.Client // of the sandbox
	process *process
	remote  bool         // it runs in a container: whoever started it ends it
	pid     atomic.Int64 // of process, for the wire
	signer  *keySigner   // nil without Options.Keosd
	nodePid atomic.Int64 // of its node as the wire saw it last

	namespace atomic.Pointer[namespace] // nil without Options.Namespaces

	mu     sync.Mutex
	frozen []int // processes that Freeze stopped

	crashes []string // managers that ended as none should
}

// chainEpoch is slot 0 of the chain in Unix milliseconds; the drill counts slots for itself (see doc.go).
const chainEpoch = 946684800000

func slotAt(t time.Time) uint64 { return uint64(t.UnixMilli()-chainEpoch) / 500 }

func slotTime(slot uint64) time.Time { return time.UnixMilli(int64(slot)*500 + chainEpoch).UTC() }

// NewSandbox lays out the folders, keys and configurations of a cluster; Start starts it.
func NewSandbox(o Options) (*Sandbox, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	o.Managers = cmp.Or(o.Managers, 3)
	o.Roundtable = cmp.Or(o.Roundtable, self)
	o.Nodeos = cmp.Or(o.Nodeos, filepath.Join(filepath.Dir(self), "simnodeos"))
	o.LogLevel = cmp.Or(o.LogLevel, "info")
	o.Wire = o.Wire || o.Latency > 0 || o.Loss > 0 || o.Namespaces
	for _, binary := range []*string{&o.Roundtable, &o.Nodeos, &o.NodeosNext} {
		if *binary == "" {
			continue
		}
		if *binary, err = filepath.Abs(*binary); err != nil {
			return nil, fmt.Errorf("drill: %w", err)
		}
		if _, err := os.Stat(*binary); err != nil {
			return nil, fmt.Errorf("drill: %w (build it with: make build)", err)
		}
	}
	if o.Dir == "" {
		if o.Dir, err = os.MkdirTemp("", "roundtable-"); err != nil {
			return nil, fmt.Errorf("drill: %w", err)
		}
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	if filepath.Base(o.Nodeos) != standIn {
		o.LogLevel = "debug" // the checker reads what a real nodeos signed from the log
	}
	s := &Sandbox{Dir: o.Dir, Producer: "bp", opts: o, system: systemOf(o.Baseline)}
	s.http = s.client()
	return s, s.layOut()
}

func (s *Sandbox) layOut() error {
	key, err := k1.Generate(rand.Reader)
	if err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	keyFile := filepath.Join(s.Dir, "producer.key")
	if err := os.WriteFile(keyFile, []byte(key.Export()+"\n"), 0o600); err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	if err := s.writeGenesis(key.Public().String()); err != nil {
		return err
	}
	for i := range s.opts.Managers {
		m := &Member{ID: "m" + strconv.Itoa(i+1)}
		m.Home = filepath.Join(s.Dir, m.ID)
		for _, port := range []*int{&m.raft, &m.gossip, &m.http, &m.p2p, &m.api} {
			if *port, err = freePort(); err != nil {
				return err
			}
		}
		m.API = "http://" + local(m.api)
		if s.opts.Keosd {
			port, err := freePort()
			if err != nil {
				return err
			}
			m.signer = newKeySigner(local(port), m.namespace.Load, key)
		}
		s.Members = append(s.Members, m)
	}
	if err := s.layRest(); err != nil {
		return err
	}
	if err := s.setHosts(); err != nil {
		return err
	}
	if err := s.laySecurity(); err != nil {
		return err
	}
	for _, m := range s.Members {
		m.client = s.http
		if err := s.system.writeConfig(s, m, keyFile); err != nil {
			return err
		}
	}
	if s.opts.Versions {
		return s.layVersions(context.Background())
	}
	return nil
}

// gapped reports whether the schedule has slots that are not ours.
func (s *Sandbox) gapped() bool { return s.opts.Producers > 1 }

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func (s *Sandbox) writeGenesis(key string) error {
	b, err := Genesis(key, time.Now())
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.Dir, "genesis.json"), b, 0o600)
}

// Ledgers is the pattern of the nodes' ledgers.
func (s *Sandbox) Ledgers() string { return filepath.Join(s.Dir, "*", ledgerFile) }

// Repository is the folder of the members' repository, named "default".
func (s *Sandbox) Repository() string { return filepath.Join(s.Dir, "backups") }

// Start starts every manager; Settle waits until production runs.
func (s *Sandbox) Start() error {
	for _, m := range s.Members {
		if err := s.StartMember(m); err != nil {
			return err
		}
	}
	return nil
}

// StartMember starts one manager.
func (s *Sandbox) StartMember(m *Member) error {
	if err := errors.Join(s.openNetwork(), s.openSigners(), s.openRest()); err != nil {
		return err
	}
	program, args := s.system.command(s, m)
	return m.start(program, args, "manager.log", m.env(s))
}

// start starts the member's process; log is the name of a file in its home.
func (m *Member) start(program string, args []string, log string, env []string) error {
	p, err := startProcess(m.namespace.Load(), program, args, m.Home, filepath.Join(m.Home, log), env)
	if err != nil {
		return err
	}
	m.process = p
	m.pid.Store(int64(p.cmd.Process.Pid))
	return nil
}

// Close ends every manager, cleanly where it can: all at once, for nobody needs to take over. The faults of the network end
// with the managers, not before.
func (s *Sandbox) Close(ctx context.Context) error {
	defer s.closeNetwork()
	defer s.closeSigners()
	errs := make(chan error, len(s.Members))
	for _, m := range s.Members {
		go func() {
			if m.process == nil {
				errs <- nil
				return
			}
			errs <- errors.Join(s.Thaw(m, Both), m.process.stop(ctx)) // a frozen one would not hear the signal
		}()
	}
	var all error
	for range s.Members {
		all = errors.Join(all, <-errs)
	}
	return errors.Join(all, s.closeRest(ctx))
}

// Member finds a member by its id.
func (s *Sandbox) Member(id string) (*Member, error) {
	i := slices.IndexFunc(s.Members, func(m *Member) bool { return m.ID == id })
	if i < 0 {
		return nil, fmt.Errorf("drill: no member %q", id)
	}
	return s.Members[i], nil
}

// get asks one member's API.
func (s *Sandbox) get(ctx context.Context, url string, v any) error { return get(ctx, s.http, url, v) }

// post sends a JSON body.
func (s *Sandbox) post(ctx context.Context, url, body string, v any) error {
	return post(ctx, s.http, url, body, v)
}

// Overview asks the running members how the cluster is, and takes the answer of the one that has applied most.
func (s *Sandbox) Overview(ctx context.Context) (Overview, error) {
	var best Overview
	err := errors.New("drill: no manager answers")
	for _, m := range s.Members {
		o, failed := s.overviewOf(ctx, m)
		if failed == nil && (err != nil || o.Index > best.Index) {
			best, err = o, nil
		}
	}
	return best, err
}

// overviewOf asks one member how the cluster is.
func (s *Sandbox) overviewOf(ctx context.Context, m *Member) (o Overview, err error) {
	if !m.Running() {
		return o, fmt.Errorf("drill: %s does not run", m.ID)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err = s.get(ctx, m.API+"/cluster", &o)
	return o, err
}

// Overview is the cluster's own view.
type Overview struct{ api.Overview }

// Holder is who may sign for the slot now; "" for nobody, also while the holder's range runs out after its restart: the
// lease is the former process's.
func (o Overview) Holder() string {
	if o.Lease.Epoch == 0 || o.Lease.Released || o.Lease.SlotsLeft < 0 {
		return ""
	}
	if m, ok := o.member(o.Lease.Holder); !ok || m.Role != api.RoleHolder {
		return ""
	}
	return o.Lease.Holder
}

func (o Overview) member(id string) (api.Member, bool) {
	i := slices.IndexFunc(o.Members, func(m api.Member) bool { return m.ID == id })
	if i < 0 {
		return api.Member{}, false
	}
	return o.Members[i], true
}
