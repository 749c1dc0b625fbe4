package manager

import (
	"errors"
	"strings"
	"testing"

	"roundtable/fsm"
)

// TestCheckOverlay: lines that a node can have pass; those that it cannot, or that would come to nothing, are refused and say why.
func TestCheckOverlay(t *testing.T) {
	for _, good := range []string{"", "\n# a note\n", "max-clients = 9\nplugin = eosio::trace_api_plugin\np2p-peer-address = a:1\n", "read-mode = head # behind it"} {
		if err := checkOverlay(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for lines, want := range map[string]string{
		"max-clients = 9\nmax-clients": "the cluster's overlay: line 2", "signature-provider = PUB_BLS_x=KEY:PVT_BLS_y": "signature-provider", "signature-provider = EOS5=KEY:5Jx": "signature-provider",
		"http-server-address = 0.0.0.0:8888": "http-server-address", "p2p-listen-endpoint = 0.0.0.0:9876": "p2p-listen-endpoint", "producer-name = eve": "producer-name",
		"pause-on-startup = false": "pause-on-startup", "keosd-provider-timeout = 5": "keosd-provider-timeout", "agent-name = x": "agent-name",
		"http-category-address = chain_rw,0.0.0.0:1": "would let anybody pause", "deep-mind = true": "deep-mind", "logconf = x.json": "owns logging.json",
	} {
		err := checkOverlay(lines)
		var r *fsm.Refusal
		if !errors.As(err, &r) || r.Rule != fsm.ErrConfig.Rule || !strings.Contains(r.Message, want) || strings.Contains(r.Message, "PVT_") || strings.Contains(r.Message, "5Jx") {
			t.Errorf("%q: %v, want %q", lines, err, want)
		}
	}
}
