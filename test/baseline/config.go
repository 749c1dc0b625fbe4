package baseline

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// The kinds that there are.
const (
	Leader     = "leader"
	Keepalived = "keepalived"
)

// Config is one member's configuration, as JSON in a file. It holds the private key: mode 0600.
type Config struct {
	ID   string `json:"id"`
	Home string `json:"home"` // folder of logs, raft's files, the node's config and data
	API  string `json:"api"`  // host:port to listen on

	// Bind is listened on and dialed from; Advertise is where the others find this member. They differ where a proxy stands
	// between. TCP for "leader" (raft), UDP for "keepalived" (adverts).
	Bind      string `json:"bind"`
	Advertise string `json:"advertise"`
	Priority  int    `json:"priority"` // of VRRP, 1 to 254
	Peers     []Peer `json:"peers"`    // the other members

	Nodeos            string   `json:"nodeos"`
	Args              []string `json:"args"`
	NodeHTTP          string   `json:"node_http"`
	NodeP2P           string   `json:"node_p2p"`
	NodePeers         []string `json:"node_peers"`
	Producer          string   `json:"producer"`
	SignatureProvider string   `json:"signature_provider"` // PUBLIC=KEY:PRIVATE

	HeartbeatMs int `json:"heartbeat_ms"` // raft's heartbeat and election timeout; default 300
	PollMs      int `json:"poll_ms"`      // how often the node is made to agree with the role; default 500
	AdvertMs    int `json:"advert_ms"`    // VRRP's advert interval; default 500
}

// Peer is another member: its API, and its Advertise address.
type Peer struct {
	ID      string `json:"id"`
	API     string `json:"api"` // URL
	Address string `json:"address"`
}

// Load reads a configuration file. An unknown key is refused.
func Load(file string) (Config, error) {
	f, err := os.Open(file)
	if err != nil {
		return Config{}, fmt.Errorf("baseline: config: %w", err)
	}
	defer f.Close()
	var c Config
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Config{}, fmt.Errorf("baseline: config %s: %w", file, err)
	}
	return c.withDefaults()
}

func (c Config) withDefaults() (Config, error) {
	for _, d := range []struct {
		value *int
		def   int
	}{{&c.HeartbeatMs, 300}, {&c.PollMs, 500}, {&c.AdvertMs, 500}, {&c.Priority, 100}} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if c.Advertise == "" {
		c.Advertise = c.Bind
	}
	if c.ID == "" || c.Home == "" || c.API == "" || c.Bind == "" || c.Nodeos == "" || c.NodeHTTP == "" {
		return c, errors.New("baseline: config: id, home, api, bind, nodeos and node_http must be given")
	}
	if c.Priority < 1 || c.Priority > 254 {
		return c, fmt.Errorf("baseline: config: priority %d is not from 1 to 254", c.Priority)
	}
	return c, nil
}

// peer finds another member.
func (c Config) peer(id string) (Peer, error) {
	i := slices.IndexFunc(c.Peers, func(p Peer) bool { return p.ID == id })
	if i < 0 {
		return Peer{}, fmt.Errorf("baseline: no other member %q", id)
	}
	return c.Peers[i], nil
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }
