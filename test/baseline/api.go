package baseline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Status is what GET /status answers.
type Status struct {
	ID       string   `json:"id"`
	Kind     string   `json:"kind"`
	Leader   string   `json:"leader"` // whom this member takes for it; "" for nobody
	Holder   bool     `json:"holder"` // it means to let its node produce
	Paused   bool     `json:"paused"` // what the node says; true where it does not answer
	NodeUp   bool     `json:"node_up"`
	HeadNum  uint32   `json:"head_num"`
	HeadSlot uint64   `json:"head_slot"`
	Peers    []string `json:"peers"`
	Error    string   `json:"error,omitempty"` // why the node does not answer
}

func (m *manager) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) { reply(w, m.status(r.Context()), nil) })
	mux.HandleFunc("POST /handoff", func(w http.ResponseWriter, r *http.Request) {
		var ask struct {
			To string `json:"to"`
		}
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&ask)
		if err == nil {
			err = m.handoff(r.Context(), ask.To, r.Header.Get(forwarded) != "")
		}
		reply(w, m.status(r.Context()), err)
	})
	mux.HandleFunc("POST /takeover", func(w http.ResponseWriter, r *http.Request) {
		err := m.system.takeover()
		reply(w, m.status(r.Context()), err)
	})
	mux.HandleFunc("GET /block/{num}", func(w http.ResponseWriter, r *http.Request) {
		num, err := strconv.ParseUint(r.PathValue("num"), 10, 32)
		var b blockRef
		if err == nil {
			b, err = m.node.block(r.Context(), uint32(num))
		}
		reply(w, b, err)
	})
	return mux
}

// reply writes v, or the error.
func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		v = map[string]string{"error": err.Error()}
	}
	_ = json.NewEncoder(w).Encode(v) // whoever asked has gone
}

func (m *manager) status(ctx context.Context) Status {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	s := Status{ID: m.cfg.ID, Kind: m.kind, Leader: m.system.leader(), Holder: m.system.produces().holds(), Paused: true}
	for _, p := range m.cfg.Peers {
		s.Peers = append(s.Peers, p.ID)
	}
	h, _, err := m.node.info(ctx)
	s.HeadNum, s.HeadSlot = h.num, h.slot
	if err == nil {
		s.Paused, err = m.node.paused(ctx)
	}
	if err != nil {
		s.Error, s.Paused = err.Error(), true
	}
	s.NodeUp = err == nil
	return s
}

// forwarded marks a request that another member passed on: it is not passed on again.
const forwarded = "X-Baseline-Forwarded"

// handoff moves production to a member and waits until it produces. Whoever is not the leader asks the leader.
func (m *manager) handoff(ctx context.Context, to string, passed bool) error {
	if !m.system.produces().holds() {
		leader := m.system.leader()
		if passed || leader == "" || leader == m.cfg.ID {
			return errors.New("baseline: nobody to hand production over")
		}
		p, err := m.cfg.peer(leader)
		if err != nil {
			return err
		}
		return forward(ctx, p, to)
	}
	if to == m.cfg.ID {
		return nil
	}
	p, err := m.cfg.peer(to)
	if err != nil {
		return err
	}
	if err := m.system.handoff(ctx, p); err != nil {
		return err
	}
	return taken(ctx, p)
}

func forward(ctx context.Context, p Peer, to string) error {
	body, err := json.Marshal(map[string]string{"to": to})
	if err != nil {
		return fmt.Errorf("baseline: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.API+"/handoff", strings.NewReader(string(body)))
	if err != nil {
		return fmt.Errorf("baseline: %w", err)
	}
	req.Header.Set(forwarded, "1")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("baseline: ask %s: %w", p.ID, err)
	}
	return answer(resp, nil)
}

// taken waits until a member says that its node produces.
func taken(ctx context.Context, p Peer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		s, err := ask(ctx, p)
		if err == nil && s.Holder && !s.Paused {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(fmt.Errorf("baseline: %s does not produce", p.ID), err)
		}
		wait(ctx, 20*time.Millisecond)
	}
}

func ask(ctx context.Context, p Peer) (s Status, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.API+"/status", nil)
	if err != nil {
		return s, fmt.Errorf("baseline: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return s, fmt.Errorf("baseline: ask %s: %w", p.ID, err)
	}
	err = answer(resp, &s)
	return s, err
}
