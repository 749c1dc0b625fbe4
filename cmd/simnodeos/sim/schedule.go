package sim

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"roundtable/node/k1"
)

// genesis is genesis.json as far as the double needs it. The whole file goes into the chain id.
type genesis struct {
	raw       json.RawMessage
	timestamp time.Time
	key       k1.PublicKey
}

// defaultGenesis is what nodeos uses without --genesis-json on an empty data directory.
const defaultGenesis = `{"initial_timestamp":"2018-06-01T12:00:00.000","initial_key":"EOS6MRyAjQq8ud7hVNYcfnVPJqcVpscN5So8BhtHuGYqET5GDW5CV"}`

func readGenesis(path string) (*genesis, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseGenesis(data)
}

func parseGenesis(data []byte) (*genesis, error) {
	var g struct {
		Timestamp string `json:"initial_timestamp"`
		Key       string `json:"initial_key"`
	}
	if err := json.Unmarshal(data, &g); err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	t, err := time.Parse("2006-01-02T15:04:05.999", strings.TrimSuffix(g.Timestamp, "Z"))
	if err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	key, err := k1.ParsePublic(g.Key)
	if err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	var canon any // key order and white space do not matter
	if err := json.Unmarshal(data, &canon); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(canon)
	if err != nil {
		return nil, err
	}
	return &genesis{raw: raw, timestamp: t, key: key}, nil
}

// block is block 1, which nobody signs.
func (g *genesis) block() *Block {
	h := Header{Slot: nextSlot(g.timestamp) - 1, Producer: "eosio"}
	h.ActionRoot = Hash(sha256.Sum256(g.raw))
	return &Block{Header: h}
}

// authority is who may sign for a producer: any one of the keys, as the double has it.
type authority struct{ keys []k1.PublicKey }

// json is [0,{"threshold":1,"keys":[...]}], as nodeos prints authorities.
func (a authority) json() string {
	parts := make([]string, len(a.keys))
	for i, k := range a.keys {
		parts[i] = fmt.Sprintf(`{"key":"%s","weight":1}`, k)
	}
	return `[0,{"threshold":1,"keys":[` + strings.Join(parts, ",") + `]}]`
}

// schedule is who produces when. It never changes while the double runs.
type schedule struct {
	names []string
	auths map[string]authority
}

func newSchedule(spec string, keys []string, g *genesis) (*schedule, error) {
	s := &schedule{auths: map[string]authority{}}
	if n, err := strconv.Atoi(spec); err == nil {
		if n < 1 || n > 21 {
			return nil, fmt.Errorf("sim-schedule: %d producers, not 1 to 21", n)
		}
		s.names = []string{"eosio"}
		if n > 1 {
			s.names = nil
			for i := range n {
				s.names = append(s.names, "prod"+strings.Repeat(string(rune('a'+i)), 4))
			}
		}
	} else {
		s.names = strings.Split(spec, ",")
	}
	if len(s.names) > 21 {
		return nil, fmt.Errorf("sim-schedule: %d producers, not 1 to 21", len(s.names))
	}
	for i, name := range s.names {
		if !validName(name) || slices.Contains(s.names[:i], name) {
			return nil, fmt.Errorf("sim-schedule: bad or repeated name %q", name)
		}
		s.auths[name] = authority{keys: []k1.PublicKey{g.key}}
	}
	for _, k := range keys {
		name, list, ok := strings.Cut(k, "=")
		if _, known := s.auths[name]; !ok || !known {
			return nil, fmt.Errorf("sim-keys: %q names no producer of the schedule", name)
		}
		var auth authority
		for _, text := range strings.Split(list, "+") {
			pub, err := k1.ParsePublic(text)
			if err != nil {
				return nil, fmt.Errorf("sim-keys: %s: %w", name, err)
			}
			auth.keys = append(auth.keys, pub)
		}
		s.auths[name] = auth
	}
	return s, nil
}

// producer is whose slot it is.
func (s *schedule) producer(slot uint32) string {
	return s.names[int(uint64(slot)%(12*uint64(len(s.names)))/12)]
}

// json is the active schedule as get_producer_schedule has it.
func (s *schedule) json() string {
	parts := make([]string, len(s.names))
	for i, n := range s.names {
		parts[i] = fmt.Sprintf(`{"producer_name":"%s","authority":%s}`, n, s.auths[n].json())
	}
	return `{"version":0,"producers":[` + strings.Join(parts, ",") + `]}`
}

// verify checks that the block is its producer's own, in its producer's slot.
func (s *schedule) verify(b *Block, savanna bool) error {
	if want := s.producer(b.Slot); b.Producer != want {
		return fmt.Errorf("slot %d belongs to %s, not %s", b.Slot, want, b.Producer)
	}
	if len(b.Sigs) == 0 {
		return fmt.Errorf("block %d is not signed", b.Num())
	}
	digest := b.Digest(savanna)
	for _, text := range b.Sigs {
		key, err := recoverKey(digest, text)
		if err != nil {
			return err
		}
		if !slices.Contains(s.auths[b.Producer].keys, key) {
			return fmt.Errorf("block signed by unexpected key: %s", key)
		}
	}
	return nil
}

func recoverKey(digest Hash, text string) (k1.PublicKey, error) {
	sig, err := k1.ParseSignature(text)
	if err != nil {
		return k1.PublicKey{}, err
	}
	return k1.Recover(digest, sig)
}
