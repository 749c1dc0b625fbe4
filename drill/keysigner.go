package drill

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"roundtable/node/k1"
)

var errNoSigner = errors.New("drill: the sandbox has no signers (Options.Keosd)")

// keySigner is a stand-in for the keosd of one member: it holds the producer's key and can be slow, hang, or be dead.
type keySigner struct {
	address string
	where   func() *namespace
	key     *k1.PrivateKey

	mu      sync.Mutex
	server  *http.Server // nil while it is dead
	served  chan struct{}
	delay   time.Duration
	hangs   bool
	changed chan struct{} // closed at the next change of delay or hangs
}

func newKeySigner(address string, where func() *namespace, key *k1.PrivateKey) *keySigner {
	return &keySigner{address: address, where: where, key: key, changed: make(chan struct{})}
}

// open serves, unless it does already.
func (k *keySigner) open() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.server != nil {
		return nil
	}
	l, err := k.where().listen(k.address)
	if err != nil {
		return fmt.Errorf("drill: signer: %w", err)
	}
	server, served := &http.Server{Handler: k.handler(), ReadHeaderTimeout: 10 * time.Second}, make(chan struct{})
	k.server, k.served = server, served
	go func() {
		defer close(served)
		_ = server.Serve(l) // until close
	}()
	return nil
}

// close ends it and every connection: who dials now is refused.
func (k *keySigner) close() {
	k.mu.Lock()
	server, served := k.server, k.served
	k.server = nil
	k.mu.Unlock()
	if server != nil {
		_ = server.Close()
		<-served
	}
}

// set changes how it behaves.
func (k *keySigner) set(delay time.Duration, hangs bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.delay, k.hangs = delay, hangs
	close(k.changed)
	k.changed = make(chan struct{})
}

func (k *keySigner) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/wallet/get_public_keys", func(w http.ResponseWriter, r *http.Request) {
		if k.pause(r.Context()) {
			answer(w, []string{k.key.Public().String()})
		}
	})
	mux.HandleFunc("POST /v1/wallet/sign_digest", func(w http.ResponseWriter, r *http.Request) {
		var ask [2]string
		var digest [32]byte
		if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if b, err := hex.DecodeString(ask[0]); err != nil || copy(digest[:], b) != len(digest) || len(b) != len(digest) {
			http.Error(w, "no digest", http.StatusBadRequest)
			return
		}
		if key, err := k1.ParsePublic(ask[1]); err != nil || key != k.key.Public() {
			http.Error(w, "no such key", http.StatusInternalServerError)
			return
		}
		if k.pause(r.Context()) {
			answer(w, k.key.Sign(digest).String())
		}
	})
	return mux
}

// pause takes the time that the fault asks for; false if the client has gone.
func (k *keySigner) pause(ctx context.Context) bool {
	k.mu.Lock()
	delay, hangs, changed := k.delay, k.hangs, k.changed
	k.mu.Unlock()
	for hangs {
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		}
		k.mu.Lock()
		hangs, changed = k.hangs, k.changed
		k.mu.Unlock()
	}
	return wait(ctx, delay) == nil
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client may have gone
}

// signerURL is where the member's signer is asked; "" without one.
func (m *Member) signerURL() string {
	if m.signer == nil {
		return ""
	}
	return "http://" + m.signer.address
}

// openSigners starts the signers, once.
func (s *Sandbox) openSigners() error {
	if !s.opts.Keosd || s.signing {
		return nil
	}
	for _, m := range s.Members {
		if err := m.signer.open(); err != nil {
			return err
		}
	}
	s.signing = true
	return nil
}

func (s *Sandbox) closeSigners() {
	for _, m := range s.Members {
		if m.signer != nil {
			m.signer.close()
		}
	}
	s.signing = false
}

// SlowSigner lets a member's signer take so long for each answer.
func (s *Sandbox) SlowSigner(m *Member, delay time.Duration) error { return m.sign(delay, false) }

// HangSigner lets a member's signer answer nothing any more.
func (s *Sandbox) HangSigner(m *Member) error { return m.sign(0, true) }

func (m *Member) sign(delay time.Duration, hangs bool) error {
	if m.signer == nil {
		return errNoSigner
	}
	m.signer.set(delay, hangs)
	return nil
}

// KillSigner ends a member's signer: connections are refused.
func (s *Sandbox) KillSigner(m *Member) error {
	if m.signer == nil {
		return errNoSigner
	}
	m.signer.close()
	return nil
}

// HealSigner starts a member's signer again, as good as new.
func (s *Sandbox) HealSigner(m *Member) error {
	if m.signer == nil {
		return errNoSigner
	}
	m.signer.set(0, false)
	return m.signer.open()
}
