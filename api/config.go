package api

import (
	"context"
	"net/http"
	"regexp"
	"strings"

	"roundtable/fsm"
)

// ClusterConfig is GET /cluster/config.
type ClusterConfig struct {
	Cluster     string   `json:"cluster"`
	ChainID     string   `json:"chain_id"`
	Producers   []string `json:"producers"`
	Slots       uint64   `json:"slots"` // how far past the slot now the lease reaches
	Maintenance bool     `json:"maintenance"`
	Overlay     string   `json:"overlay"`   // lines of config.ini for every node, private keys masked
	Pending     bool     `json:"pending"`   // the overlay is not with all nodes yet
	Waiting     []string `json:"waiting"`   // members whose node waits for a rollout of its configuration
	TakeOver    bool     `json:"take_over"` // after a rollout the member that was restarted last takes production over
}

// ConfigSet answers PATCH /cluster/config.
type ConfigSet struct {
	Index  uint64        `json:"index"`
	Config ClusterConfig `json:"config"`
}

func (s *Server) config() ClusterConfig {
	state, _ := s.cfg.Cluster.View()
	c := state.Cluster
	v := ClusterConfig{c.Name, c.ChainID, append([]string{}, c.Producers...), c.Slots, c.Maintenance, masked(c.Overlay), c.Proven != nil, []string{}, c.TakeOver}
	for _, id := range state.MemberIDs() {
		if state.Homes[id].Runs.Offers != "" {
			v.Waiting = append(v.Waiting, id)
		}
	}
	return v
}

// privateKeys are what a signature-provider may hold of them, and what they look like anywhere else.
var privateKeys = regexp.MustCompile(`KEY:[^\s#]+|PVT_[A-Za-z0-9_]+|\b5[HJK][1-9A-HJ-NP-Za-km-z]{49}\b`)

// masked takes the private keys out of a text.
func masked(text string) string {
	return privateKeys.ReplaceAllStringFunc(text, func(key string) string {
		if strings.HasPrefix(key, "KEY:") {
			return "KEY:***"
		}
		return "***"
	})
}

func (s *Server) getConfig(*http.Request) (answer, error) { return answer{body: s.config()}, nil }

// configRequest is the body of PATCH /cluster/config.
type configRequest struct {
	Producers *[]string `json:"producers"`
	Slots     *uint64   `json:"slots"`
	Overlay   *string   `json:"overlay"`
	TakeOver  *bool     `json:"take_over"`
}

func (s *Server) patchConfig(r *http.Request) (answer, error) {
	var body configRequest
	if err := decode(r, &body); err != nil {
		return answer{}, err
	}
	if body == (configRequest{}) {
		return answer{}, badInput(fieldsHint(&body), "nothing to change is named")
	}
	if err := s.checkOverlay(body.Overlay); err != nil {
		return answer{}, err
	}
	index, err := s.change(r, body, func(ctx context.Context, key string) (uint64, error) {
		return s.cfg.Control.PatchCluster(ctx, fsm.PatchCluster{Producers: body.Producers, Slots: body.Slots, Overlay: body.Overlay, TakeOver: body.TakeOver}, key)
	})
	return answer{body: ConfigSet{index, s.config()}}, err
}

// checkOverlay refuses what no node would start with, and what must not get into the log: keys. nil is no overlay, which is good.
func (s *Server) checkOverlay(lines *string) error {
	refuse := func(message, hint string) error {
		return &fsm.Refusal{Rule: fsm.ErrConfig.Rule, Message: "the overlay " + message, Hint: hint}
	}
	switch {
	case lines == nil || *lines == "":
		return nil
	case len(*lines) > fsm.MaxOverlay:
		return badInput("what is one member's own stands in its template", `"overlay" has %d bytes, at most %d are taken`, len(*lines), fsm.MaxOverlay)
	case strings.ContainsFunc(*lines, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f }):
		return badInput("lines of config.ini, with a plain newline between them", `"overlay" has control characters`)
	case privateKeys.MatchString(*lines):
		return refuse("holds a private key", "it is every member's, and two nodes must not have one key: put it into the template of its own member, and the producer's into the signer")
	case s.cfg.Overlay != nil:
		return s.cfg.Overlay(*lines)
	}
	return nil
}
