package api

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"roundtable/fsm"
)

// maxKey bounds an Idempotency-Key as the client writes it.
const maxKey = 100

// idempotency makes the key that goes into the log out of the client's, "" for none. It is a digest of who asks for what
// with which key: a key that is used again for something else must not make that look done, and no client hits a key that
// another one, or a controller, uses.
func idempotency(r *http.Request, body any) (string, error) {
	given := r.Header.Values("Idempotency-Key")
	switch {
	case len(given) == 0 || len(given) == 1 && given[0] == "":
		return "", nil
	case len(given) > 1:
		return "", badInput("send one, a UUID does", "there are %d Idempotency-Keys", len(given))
	case len(given[0]) > maxKey:
		return "", badInput("a UUID does", "the Idempotency-Key has %d characters, at most %d are taken", len(given[0]), maxKey)
	case strings.ContainsFunc(given[0], func(c rune) bool { return c > unicode.MaxASCII || !unicode.IsPrint(c) }):
		return "", badInput("a UUID does", "the Idempotency-Key has characters that are not printable ASCII")
	}
	text, err := json.Marshal([]any{callOf(r).who.Actor, r.Method, r.URL.Path, given[0], body})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return "http-" + hex.EncodeToString(sum[:20]), nil
}

// change does what every acting request has in common: the idempotency key, the time limit, a leader to be known. It returns
// the index under which the change took effect; it is applied here then.
func (s *Server) change(r *http.Request, body any, do func(ctx context.Context, key string) (uint64, error)) (uint64, error) {
	if s.stopping.Load() {
		return 0, &Error{Status: http.StatusServiceUnavailable, Code: "closing", Message: "this manager is stopping", Hint: "nothing was changed: ask another member"}
	}
	key, err := idempotency(r, body)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), proposeTime)
	defer cancel()
	if err := s.awaitLeader(ctx); err != nil {
		return 0, err
	}
	index, err := do(ctx, key)
	if err != nil {
		return 0, err
	}
	s.cfg.Log.Info("changed by a request", "route", callOf(r).route, "actor", callOf(r).who.Actor, "index", index, "client", r.RemoteAddr)
	return index, nil
}

// repeats remembers what was done under which key, for the one kind of change that no log entry is: raft's own. It forgets
// by halves, and with the process.
type repeats[T any] struct {
	mu   sync.Mutex
	done map[string]*outcome[T]
}

type outcome[T any] struct {
	ended chan struct{}
	value T
	err   error
}

const keptRepeats = 256

// once does it, or gives what the first one under the key gave; a failure is not kept. An empty key is nobody's.
func (k *repeats[T]) once(ctx context.Context, key string, do func() (T, error)) (T, error) {
	if key == "" {
		return do()
	}
	k.mu.Lock()
	o, again := k.done[key]
	if !again {
		if len(k.done) >= keptRepeats {
			n := 0
			maps.DeleteFunc(k.done, func(string, *outcome[T]) bool { n++; return n%2 == 0 })
		}
		if k.done == nil {
			k.done = map[string]*outcome[T]{}
		}
		o = &outcome[T]{ended: make(chan struct{})}
		k.done[key] = o
	}
	k.mu.Unlock()
	if again {
		select {
		case <-o.ended:
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
		return o.value, o.err
	}
	o.value, o.err = do()
	close(o.ended)
	if o.err != nil {
		k.mu.Lock()
		delete(k.done, key)
		k.mu.Unlock()
	}
	return o.value, o.err
}

// maintenanceRequest is the body of POST /cluster/maintenance.
type maintenanceRequest struct {
	On     *bool  `json:"on"`
	Member string `json:"member"` // empty: the whole cluster
}

// MaintenanceSet answers POST /cluster/maintenance.
type MaintenanceSet struct {
	Index  uint64 `json:"index"`
	On     bool   `json:"on"`
	Member string `json:"member"`
}

func (s *Server) postMaintenance(r *http.Request) (answer, error) {
	var body maintenanceRequest
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if body.On == nil {
		return answer{}, badInput(`such as {"on":true,"member":"m2"}; without "member" it is the whole cluster`, `"on" must be true or false`)
	}
	if body.Member != "" {
		if err := s.known(body.Member); err != nil {
			return answer{}, err
		}
	}
	index, err := s.change(r, body, func(ctx context.Context, key string) (uint64, error) {
		return s.cfg.Control.SetMaintenance(ctx, body.Member, *body.On, key)
	})
	return answer{body: MaintenanceSet{index, *body.On, body.Member}}, err
}

// transferRequest is the body of POST /cluster/leader/transfer.
type transferRequest struct {
	To string `json:"to"` // empty: the member that is most up to date
}

// LeaderMoved answers POST /cluster/leader/transfer.
type LeaderMoved struct {
	Leader string `json:"leader"`
	Term   uint64 `json:"term"`
}

// postTransfer moves raft's leadership, which is not production.
func (s *Server) postTransfer(r *http.Request) (answer, error) {
	var body transferRequest
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if body.To != "" {
		if err := s.known(body.To); err != nil {
			return answer{}, err
		}
	}
	moved := func() LeaderMoved {
		leader, _ := s.cfg.Cluster.Leader()
		return LeaderMoved{leader, s.cfg.Cluster.Metrics().Term}
	}
	var done LeaderMoved
	_, err := s.change(r, body, func(ctx context.Context, key string) (uint64, error) {
		var err error
		done, err = s.transfers.once(ctx, key, func() (LeaderMoved, error) {
			if err := s.cfg.Cluster.TransferLeadership(ctx, body.To); err != nil {
				return LeaderMoved{}, err
			}
			m := moved()
			m.Leader = cmp.Or(body.To, m.Leader) // the one that confirmed it
			return m, nil
		})
		state, _ := s.cfg.Cluster.View()
		return state.Index, err
	})
	return answer{body: done}, err
}

// deleteOperation cancels an operation, where that is still safe; a rolling one that has stopped a node ends after that member, which
// is 202.
func (s *Server) deleteOperation(r *http.Request) (answer, error) {
	state, _ := s.cfg.Cluster.View()
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if _, ok := state.Operation(id); err != nil || !ok {
		return answer{}, unknownOperation(r.PathValue("id"))
	}
	if _, err := s.change(r, nil, func(ctx context.Context, key string) (uint64, error) { return s.cfg.Control.Cancel(ctx, id, key) }); err != nil {
		return answer{}, err
	}
	a, err := s.getOperation(r)
	if o, ok := a.body.(Operation); ok && o.Outcome == fsm.Running {
		a.status = http.StatusAccepted
	}
	return a, err
}
