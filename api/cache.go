package api

import (
	"net/http"
	"reflect"
	"sync"
	"time"

	"roundtable/cluster/health"
	"roundtable/fsm"
)

// keptFor is how old an answer may be that is given again: nobody who looks sees it, and whoever asks thousands of times a
// second costs little more than the asking.
const keptFor = 50 * time.Millisecond

// kept is an answer that is given again while nothing happened: no entry was applied and no report came in. It is made by
// one request at a time, for which the others wait.
type kept struct {
	mu    sync.Mutex
	state *fsm.State             // of which it was made
	peers map[string]health.Peer // the same; gossip makes a new map for each change
	at    time.Time              // by the real clock, which also runs where Config.Now stands still
	text  verbatim
}

// shared makes a handler of a view that is the same for everybody who asks.
func (s *Server) shared(view func(v sight) any) handler {
	k := &kept{}
	return func(*http.Request) (answer, error) {
		state, _ := s.cfg.Cluster.View()
		peers := s.cfg.Cluster.Peers()
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.state != state || !sameMap(k.peers, peers) || time.Since(k.at) >= keptFor {
			at, v := time.Now(), s.look()
			k.state, k.peers, k.at, k.text = v.state, v.peers, at, encode(view(v))
		}
		return answer{body: k.text}, nil
	}
}

// sameMap reports whether two maps are one; that they are equal would cost more to tell than to make the answer again.
func sameMap[M map[K]V, K comparable, V any](a, b M) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}
