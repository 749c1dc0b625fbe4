package security

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Config is what a Keeper is made of.
type Config struct {
	Files
	Member string   // this member's id
	Hosts  []string // by which others reach it: a certificate that lacks one of them is renewed at once
	Renew  bool     // renew by itself; else only files that change are read again
	// Ask has another member sign a request, where the CA's key is not here; nil: there is nobody to ask.
	Ask func(ctx context.Context, request []byte) (Issued, error)
	Now func() time.Time
	Log *slog.Logger
}

// Keeper keeps a running manager's certificate and the CAs that it believes. Files that change are read again, and the
// certificate is renewed in time; either counts from the next handshake on, and streams that exist go on as they are.
// Open makes it, Run keeps it; all methods may be called from any goroutine.
type Keeper struct {
	cfg    Config
	log    *slog.Logger
	loaded atomic.Pointer[material]
	hosts  atomic.Pointer[[]string] // that the certificate is to be good for
	moved  chan struct{}            // they are others
	known  atomic.Pointer[func(member string) int64]
	jitter float64 // 0..1: members that were made together do not all renew together

	mu      sync.Mutex
	refused map[string]uint64 // by raft's side
	problem string            // why the files or a renewal are not as they should be
	renewed uint64
}

// Open reads the files. A certificate that has expired is no error: it may be renewed; one of another member, or of
// another cluster's CA, is.
func Open(cfg Config) (*Keeper, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{cfg: cfg, log: cfg.Log, jitter: rand.Float64(), moved: make(chan struct{}, 1), refused: map[string]uint64{}} //nolint:gosec // no secret
	k.hosts.Store(&cfg.Hosts)
	for _, reason := range Reasons {
		k.refused[reason] = 0
	}
	m, err := cfg.read()
	if err != nil {
		return nil, err
	}
	k.loaded.Store(m)
	if err := m.check(cfg.Member, cfg.Now()); err != nil {
		if !cfg.Now().After(m.leaf().NotAfter) {
			return nil, err
		}
		k.troubled("the certificate has expired", err)
	}
	return k, nil
}

// Server is the side of a stream that was dialed: whoever dials must show a certificate of the cluster's CA.
func (k *Keeper) Server() *tls.Config { return k.server(true, k.count) }

// API is the same for the API, where a certificate is not needed (there are tokens); one that is shown must be of the
// cluster's CA. Each connection's peer was so verified: Peer tells the member's id. refused is told why whom it refuses.
func (k *Keeper) API(refused func(reason string)) *tls.Config { return k.server(false, refused) }

func (k *Keeper) server(needed bool, refused func(reason string)) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			m := k.loaded.Load()
			return &tls.Config{
				MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{m.pair}, Time: k.cfg.Now,
				ClientAuth: tls.RequestClientCert, ClientCAs: m.pool, // VerifyConnection requires and checks: so refusals are counted
				SessionTicketsDisabled: true, // a resumed session would rest on the CAs of the first one
				VerifyConnection:       func(s tls.ConnectionState) error { return k.admit(s, needed, refused) },
			}, nil
		},
	}
}

// Client is the side that dials a member: it must be that one ("": any member of this cluster). Host names play no part:
// members are known by id and move between addresses.
func (k *Keeper) Client(member string) *tls.Config {
	m := k.loaded.Load()
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Time: k.cfg.Now,
		// whatever CAs the server asks for: a foreign one then says why it refuses us
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &m.pair, nil },
		InsecureSkipVerify:   true, // VerifyConnection does it, by id
		VerifyConnection: func(s tls.ConnectionState) error {
			err := peerIs(s, member, m.pool, k.cfg.Now())
			if err == nil && Predates(s.PeerCertificates[0], k.admitted(Peer(&s))) {
				err = errPredecessor
			}
			return err
		},
	}
}

// Sign signs a member's request with the CA's key, or returns ErrNoCA. The key is read for it and not kept in memory. The
// caller has made sure that the asker is that member.
func (k *Keeper) Sign(request []byte, member string) (Issued, error) {
	ca, bundle, err := k.cfg.ca() // as the files are now: who asks just after a change must learn of it
	if err != nil {
		return Issued{}, err
	}
	chain, err := ca.Sign(request, member, MemberLife, k.cfg.Now())
	if err != nil {
		return Issued{}, err
	}
	return Issued{Cert: chain, CA: bundle}, nil
}

// CAs are the fingerprints of the CAs that are believed.
func (k *Keeper) CAs() []string {
	var list []string
	for _, c := range k.loaded.Load().cas {
		list = append(list, Fingerprint(c))
	}
	return list
}

// Status is how a member's certificate stands.
type Status struct {
	Info
	Renewed uint64 // times, by this process
	Problem string // why it is not as it should be; "" where it is
}

// Status is for metrics and alarms.
func (k *Keeper) Status() Status {
	m := k.loaded.Load()
	k.mu.Lock()
	defer k.mu.Unlock()
	return Status{Info: m.info(), Renewed: k.renewed, Problem: k.problem}
}

// Refused counts the handshakes that raft's side refused, by reason.
func (k *Keeper) Refused() map[string]uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.refused)
}

// troubled notes a problem; the same one again is logged no second time.
func (k *Keeper) troubled(what string, err error) {
	k.mu.Lock()
	text := fmt.Sprintf("%s: %v", what, err)
	again := k.problem == text
	k.problem = text
	k.mu.Unlock()
	if !again {
		k.log.Warn("tls: "+what, "err", err, "hint", "see: roundtable certificate show")
	}
}

func (k *Keeper) well() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.problem = ""
}

// Reload reads the files again. What cannot be used replaces nothing: the error says why, and what was loaded before stays.
func (k *Keeper) Reload() error {
	before := k.loaded.Load()
	m, err := k.cfg.read()
	if err != nil {
		return err
	}
	if m.same(before) {
		return nil
	}
	if err := m.check(k.cfg.Member, k.cfg.Now()); err != nil {
		return fmt.Errorf("what the files hold now is not used: %w", err)
	}
	k.loaded.Store(m)
	k.log.Info("tls: certificates read", "serial", m.info().Serial, "until", m.leaf().NotAfter.UTC().Format(time.RFC3339), "cas", len(m.cas))
	return nil
}

// Renew gets a new certificate and puts it in place.
func (k *Keeper) Renew(ctx context.Context) error {
	unlock, err := k.cfg.lock()
	if err != nil {
		return err
	}
	defer unlock()
	key, request, err := NewRequest(k.cfg.Member, *k.hosts.Load())
	if err != nil {
		return err
	}
	issued, err := k.Sign(request, k.cfg.Member)
	if errors.Is(err, ErrNoCA) && k.cfg.Ask != nil {
		issued, err = k.cfg.Ask(ctx, request)
	}
	if err != nil {
		return err
	}
	if issued, err = k.accept(key, issued); err != nil {
		return err
	}
	if err := k.cfg.install(key, issued); err != nil {
		return err
	}
	if err := k.Reload(); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.renewed++
	return nil
}

// accept checks what was issued before anything is replaced by it. CAs are added and never taken away: an old CA goes when
// the operator takes it out of the file, after every member has a certificate of the new one.
func (k *Keeper) accept(key []byte, issued Issued) (Issued, error) {
	before := k.loaded.Load()
	pair, err := tls.X509KeyPair(issued.Cert, key)
	if err != nil {
		return issued, fmt.Errorf("security: what was issued: %w", err)
	}
	m := &material{pair: pair, cas: before.cas, pool: before.pool}
	if err := m.check(k.cfg.Member, k.cfg.Now()); err != nil {
		return issued, err
	}
	bundle := slices.Clone(before.text[0])
	known := k.CAs()
	if len(issued.CA) > 0 {
		cas, err := ParseCertificates(issued.CA)
		if err != nil {
			return issued, fmt.Errorf("security: the CAs that came with it: %w", err)
		}
		for _, c := range cas {
			if !slices.Contains(known, Fingerprint(c)) {
				bundle = append(bundle, certPEM(c.Raw)...)
			}
		}
	}
	issued.CA = nil
	if len(bundle) > len(before.text[0]) {
		issued.CA = bundle
	}
	return issued, nil
}
