package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"roundtable/cluster"
)

// RaftAll is one member's answer in GET /cluster/raft?all=true.
type RaftAll struct {
	Member string              `json:"member"`
	Error  string              `json:"error,omitempty"` // why there is no answer
	Raft   *cluster.RaftStatus `json:"raft,omitempty"`
}

// getRaft shows this member's raft, or with ?all=true every member's: an array in the order of the ids.
func (s *Server) getRaft(r *http.Request) (answer, error) {
	switch q := r.URL.Query().Get("all"); q {
	case "", "false":
		return answer{body: s.cfg.Cluster.Raft()}, nil
	case "true":
	default:
		return answer{}, badInput("ask for ?all=true", "all must be true or false, not %q", q)
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTime)
	defer cancel()
	state, _ := s.cfg.Cluster.View()
	list := make([]RaftAll, len(state.Members))
	var wg sync.WaitGroup
	for i, id := range state.MemberIDs() {
		wg.Go(func() {
			list[i].Member = id
			if id == s.cfg.Self {
				own := s.cfg.Cluster.Raft()
				list[i].Raft = &own
				return
			}
			status, err := s.askRaft(ctx, state.Members[id].API, r.Header.Get("Authorization"))
			if err != nil {
				list[i].Error = err.Error()
				return
			}
			list[i].Raft = status
		})
	}
	wg.Wait()
	return answer{body: list}, nil
}

// askRaft asks another member: with this one's certificate, and on a plain loopback cluster with what the client showed.
func (s *Server) askRaft(ctx context.Context, api, credentials string) (*cluster.RaftStatus, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(api, "/")+"/cluster/raft", nil)
	if err != nil {
		return nil, err
	}
	if credentials != "" && req.URL.Scheme == "http" {
		req.Header.Set("Authorization", credentials)
	}
	resp, err := s.cfg.Client.Do(req)
	var at *url.Error
	switch {
	case errors.As(err, &at) && at.Timeout():
		return nil, fmt.Errorf("no answer in %s", askTime)
	case errors.As(err, &at):
		return nil, at.Err // without the URL: who was asked stands beside it
	case err != nil:
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answered %s", resp.Status)
	}
	var status cluster.RaftStatus
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&status); err != nil {
		return nil, fmt.Errorf("its answer is not understood: %w", err)
	}
	return &status, nil
}
