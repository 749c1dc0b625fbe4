package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"time"

	"roundtable/chain"
)

// Time is a timestamp of nodeos' JSON: UTC, milliseconds, no zone.
type Time struct{ time.Time }

// UnmarshalJSON reads "2026-11-21T00:39:00.000".
func (t *Time) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	parsed, ok := parseTime(s)
	if !ok {
		return fmt.Errorf("node: %q is no timestamp of nodeos", s)
	}
	t.Time = parsed
	return nil
}

// Info is get_info (c-http/01), as far as it is used.
type Info struct {
	ServerVersion string `json:"server_version"`        // first 8 digits of the commit
	Version       string `json:"server_version_string"` // v1.2.2
	ChainID       string `json:"chain_id"`
	HeadNum       uint32 `json:"head_block_num"`
	HeadID        string `json:"head_block_id"`
	HeadTime      Time   `json:"head_block_time"` // runs up to 460 ms ahead of the clock (FACT 28)
	HeadProducer  string `json:"head_block_producer"`
	LIBNum        uint32 `json:"last_irreversible_block_num"`
	LIBID         string `json:"last_irreversible_block_id"`
	Earliest      uint32 `json:"earliest_available_block_num"`
}

// Head is the head as a block.
func (i Info) Head() chain.Block {
	return chain.Block{Slot: chain.SlotAt(i.HeadTime.UnixMilli()), Num: i.HeadNum, ID: i.HeadID}
}

// BlockInfo is get_block_info (c-http/11).
type BlockInfo struct {
	Num             uint32 `json:"block_num"`
	ID              string `json:"id"`
	Previous        string `json:"previous"`
	Time            Time   `json:"timestamp"`
	Producer        string `json:"producer"`
	ScheduleVersion uint32 `json:"schedule_version"` // 2147483648 under Savanna
	Signature       string `json:"producer_signature"`
}

// Block is the block's name.
func (b BlockInfo) Block() chain.Block {
	return chain.Block{Slot: chain.SlotAt(b.Time.UnixMilli()), Num: b.Num, ID: b.ID}
}

// Schedule is one producer schedule.
type Schedule struct {
	Version   uint32
	Producers []Producer // in the order of their windows
}

// Names lists the producers in order.
func (s Schedule) Names() []string {
	names := make([]string, len(s.Producers))
	for i, p := range s.Producers {
		names[i] = p.Name
	}
	return names
}

// Producer is one account of a schedule and the keys that may sign for it.
type Producer struct {
	Name      string
	Threshold uint32
	Keys      []string // public keys; one in nearly all cases
}

// UnmarshalJSON reads {"producer_name", "authority": [0, {"threshold", "keys": [{"key", "weight"}]}]}, and the
// "block_signing_key" of old chains.
func (p *Producer) UnmarshalJSON(b []byte) error {
	var in struct {
		Name      string            `json:"producer_name"`
		Key       string            `json:"block_signing_key"`
		Authority []json.RawMessage `json:"authority"`
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*p = Producer{Name: in.Name, Threshold: 1}
	if in.Key != "" {
		p.Keys = []string{in.Key}
	}
	if len(in.Authority) == 2 {
		var a struct {
			Threshold uint32 `json:"threshold"`
			Keys      []struct {
				Key string `json:"key"`
			} `json:"keys"`
		}
		if err := json.Unmarshal(in.Authority[1], &a); err != nil {
			return err
		}
		p.Threshold, p.Keys = a.Threshold, nil
		for _, k := range a.Keys {
			p.Keys = append(p.Keys, k.Key)
		}
	}
	return nil
}

// Schedules is get_producer_schedule (i-three-producers/get_producer_schedule-*.json).
type Schedules struct {
	Active   Schedule  `json:"active"`
	Pending  Schedule  `json:"pending"`  // no producers: none pending
	Proposed *Schedule `json:"proposed"` // nil: none proposed
}

// Feature is a protocol feature of get_activated_protocol_features.
type Feature struct {
	Digest        string `json:"feature_digest"`
	Ordinal       uint32 `json:"activation_ordinal"`
	Block         uint32 `json:"activation_block_num"`
	Specification []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"specification"`
}

// Name is the feature's code name, such as PREACTIVATE_FEATURE; "" if it is none of nodeos' own.
func (f Feature) Name() string {
	for _, s := range f.Specification {
		if s.Name == "builtin_feature_codename" {
			return s.Value
		}
	}
	return ""
}

// TableQuery names rows of a contract's table.
type TableQuery struct {
	Code  string `json:"code"`  // the contract's account
	Scope string `json:"scope"` // "" is a scope, too; mostly the contract's account again
	Table string `json:"table"`
	Lower string `json:"lower_bound"` // first and last primary key, a number or a name; "" = no bound
	Upper string `json:"upper_bound"`
	Limit uint32 `json:"limit"` // 0 = 10
}

// TableRows is the answer of get_table_rows.
type TableRows struct {
	Rows []json.RawMessage `json:"rows"` // as the contract's ABI shows them
	More bool              `json:"more"`
	Next string            `json:"next_key"` // to go on from, as Lower, where there is More
}

// Finalizers is get_finalizer_info: no active policy before Savanna.
type Finalizers struct {
	Active  *FinalizerPolicy `json:"active_finalizer_policy"`
	Pending *FinalizerPolicy `json:"pending_finalizer_policy"`
	Votes   []FinalizerVote  `json:"last_tracked_votes"`
}

// FinalizerPolicy is who may vote under Savanna.
type FinalizerPolicy struct {
	Generation uint32 `json:"generation"`
	Threshold  uint64 `json:"threshold"`
	Finalizers []struct {
		Description string `json:"description"`
		Weight      uint64 `json:"weight"`
		PublicKey   string `json:"public_key"`
	} `json:"finalizers"`
}

// FinalizerVote is a finalizer's last vote that this node saw.
type FinalizerVote struct {
	Description string `json:"description"`
	PublicKey   string `json:"public_key"`
	Strong      bool   `json:"is_vote_strong"`
	BlockNum    uint32 `json:"voted_for_block_num"`
	BlockID     string `json:"voted_for_block_id"`
}

// Snapshot is the answer of create_snapshot (c-http/38).
type Snapshot struct {
	HeadNum uint32 `json:"head_block_num"`
	HeadID  string `json:"head_block_id"`
	Time    Time   `json:"head_block_time"`
	Version int    `json:"version"`
	Path    string `json:"snapshot_name"` // absolute
}

// SnapshotRequest is a scheduled snapshot.
type SnapshotRequest struct {
	ID          uint32 `json:"snapshot_request_id"`
	Spacing     uint32 `json:"block_spacing"`
	Start       uint32 `json:"start_block_num"`
	End         uint32 `json:"end_block_num"`
	Description string `json:"snapshot_description"`
}

// RuntimeOptions is get_runtime_options.
type RuntimeOptions struct {
	MaxTransactionTime      int `json:"max_transaction_time"`
	MaxIrreversibleBlockAge int `json:"max_irreversible_block_age"`
	ProduceBlockOffset      int `json:"produce_block_offset_ms"` // 456 for a configured 450 (FACT 29)
	GreylistLimit           int `json:"greylist_limit"`
}

// Connection is one p2p connection (c-http/59, 60, 64).
type Connection struct {
	Peer       string `json:"peer"` // as configured or given to Connect; "" for an incoming one
	RemoteIP   string `json:"remote_ip"`
	Connecting bool   `json:"connecting"`
	Syncing    bool   `json:"syncing"`
	Open       bool   `json:"is_socket_open"`
	Handshake  struct {
		Address    string `json:"p2p_address"` // "127.0.0.1:18902 - 725b146"
		Agent      string `json:"agent"`
		ChainID    string `json:"chain_id"`
		HeadNum    uint32 `json:"fork_db_head_num"`
		Generation int    `json:"generation"` // 0: none yet
	} `json:"last_handshake"`
}

// Connected reports whether the peer is there: the socket is open and it has shaken hands.
func (c Connection) Connected() bool { return c.Open && !c.Connecting && c.Handshake.Generation > 0 }

// Address is the peer's p2p address: the one we dial, else the one it told (which nobody checked).
func (c Connection) Address() string {
	if c.Peer != "" {
		return c.Peer
	}
	addr, _, _ := strings.Cut(c.Handshake.Address, " - ")
	return addr
}

// DBSize is /v1/db_size/get, in bytes of chain-state-db-size-mb.
type DBSize struct {
	Free        uint64 `json:"free_bytes"`
	Used        uint64 `json:"used_bytes"`
	Reclaimable uint64 `json:"reclaimable_bytes"`
	Size        uint64 `json:"size"`
}

// Info asks for get_info. An answer proves neither liveness nor progress.
func (c *Client) Info(ctx context.Context) (i Info, err error) {
	err = c.read(ctx, "/v1/chain/get_info", nil, &i)
	return i, err
}

// BlockInfo asks for a block of the present best chain by number; ErrUnknownBlock if it is not there.
func (c *Client) BlockInfo(ctx context.Context, num uint32) (b BlockInfo, err error) {
	err = c.read(ctx, "/v1/chain/get_block_info", map[string]uint32{"block_num": num}, &b)
	return b, err
}

// Schedule asks for the schedules.
func (c *Client) Schedule(ctx context.Context) (s Schedules, err error) {
	err = c.read(ctx, "/v1/chain/get_producer_schedule", nil, &s)
	return s, err
}

// FinalizerInfo asks for the finalizer policies; Active nil means no Savanna yet.
func (c *Client) FinalizerInfo(ctx context.Context) (f Finalizers, err error) {
	err = c.read(ctx, "/v1/chain/get_finalizer_info", nil, &f)
	return f, err
}

// ActivatedFeatures lists the protocol features that are active on this chain, in the order of their activation.
func (c *Client) ActivatedFeatures(ctx context.Context) ([]Feature, error) {
	var answer struct {
		Features []Feature `json:"activated_protocol_features"`
	}
	// Spring lists all whatever is asked for; before it ten were the default.
	err := c.read(ctx, "/v1/chain/get_activated_protocol_features", map[string]uint32{"limit": 1000}, &answer)
	return answer.Features, err
}

// TableRows asks for rows of a table of the head's state. No row is no error; ErrNoTable says that there is no such account, or that
// its contract has no such table.
func (c *Client) TableRows(ctx context.Context, q TableQuery) (r TableRows, err error) {
	if q.Limit == 0 {
		q.Limit = 10
	}
	err = c.read(ctx, "/v1/chain/get_table_rows", struct {
		JSON bool `json:"json"`
		TableQuery
	}{true, q}, &r)
	return r, err
}

// Paused asks whether production is paused by an order. false does not mean that it produces (FACT 25).
func (c *Client) Paused(ctx context.Context) (paused bool, err error) {
	err = c.read(ctx, "/v1/producer/paused", nil, &paused)
	return paused, err
}

// Pause sets the pause flag. The answer comes before the block in progress is done: nodeos may ask for one more signature
// up to half a second later (FACT 24).
func (c *Client) Pause(ctx context.Context) error {
	return c.read(ctx, "/v1/producer/pause", nil, nil)
}

// Resume clears the pause flag, and a pause_at_block.
func (c *Client) Resume(ctx context.Context) error {
	return c.read(ctx, "/v1/producer/resume", nil, nil)
}

// PauseAtBlock makes nodeos stop at that block: it neither produces nor takes in a later one, while it goes on answering and
// Paused stays as it is (FACT 25). NoPauseAtBlock, Resume, or a restart ends it. ErrPastBlock if the head is there already.
func (c *Client) PauseAtBlock(ctx context.Context, num uint32) error {
	return c.read(ctx, "/v1/producer/pause_at_block", map[string]uint32{"block_num": num}, nil)
}

// NoPauseAtBlock takes PauseAtBlock back and leaves a pause as it is. It sets the height that Resume sets, the last one there is: to
// resume and pause again would let a block begin in between, which a pause does not stop (FACT 24).
func (c *Client) NoPauseAtBlock(ctx context.Context) error {
	return c.PauseAtBlock(ctx, math.MaxUint32)
}

// CreateSnapshot makes a chain snapshot of the head. It answers when that block is irreversible, on a chain that stands still
// never (FACT 26): only ctx bounds it, and nodeos goes on with it even then, so that the file may appear later, or stay behind
// unfinished when nodeos ends (Contents.Leftovers). Asked twice for one head both get the same answer; once it is finished, the answer is
// ErrSnapshotExists as long as the file is there. An answer whose parts do not fit together is an error.
func (c *Client) CreateSnapshot(ctx context.Context) (s Snapshot, err error) {
	if err := c.do(ctx, "/v1/producer/create_snapshot", nil, &s, false); err != nil {
		return Snapshot{}, err
	}
	if m := snapshotRE.FindStringSubmatch(filepath.Base(s.Path)); !filepath.IsAbs(s.Path) || m == nil || m[1] != s.HeadID || s.HeadNum != numOf(s.HeadID) {
		return Snapshot{}, fmt.Errorf("node: /v1/producer/create_snapshot: the answer is of block %d, %.64q, %.200q", s.HeadNum, s.HeadID, s.Path)
	}
	return s, nil
}

// SnapshotRequests lists scheduled snapshots.
func (c *Client) SnapshotRequests(ctx context.Context) ([]SnapshotRequest, error) {
	var answer struct {
		Requests []SnapshotRequest `json:"snapshot_requests"`
	}
	err := c.read(ctx, "/v1/producer/get_snapshot_requests", nil, &answer)
	return answer.Requests, err
}

// RuntimeOptions asks for the producer's options.
func (c *Client) RuntimeOptions(ctx context.Context) (o RuntimeOptions, err error) {
	err = c.read(ctx, "/v1/producer/get_runtime_options", nil, &o)
	return o, err
}

// Connections lists p2p connections, also those that are being tried.
func (c *Client) Connections(ctx context.Context) (all []Connection, err error) {
	err = c.read(ctx, "/v1/net/connections", nil, &all)
	return all, err
}

// Connect makes nodeos connect to a p2p address, at once and again whenever the connection is lost, until it restarts.
func (c *Client) Connect(ctx context.Context, addr string) error {
	return c.net(ctx, "/v1/net/connect", addr, "added connection", "already connected")
}

// Disconnect ends a connection made by Connect or p2p-peer-address; an unknown one is no error.
func (c *Client) Disconnect(ctx context.Context, addr string) error {
	return c.net(ctx, "/v1/net/disconnect", addr, "connection removed", "no known connection for host")
}

// net sends a JSON string and gets one back, with 201 whatever happened (c-http/63-67).
func (c *Client) net(ctx context.Context, path, addr string, good ...string) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var answer string
	if err := c.do(ctx, path, addr, &answer, true); err != nil {
		return err
	}
	for _, g := range good {
		if strings.HasPrefix(answer, g) {
			return nil
		}
	}
	return fmt.Errorf("node: %s %s: %w", path, addr, errors.New(answer))
}

// DBSize asks how full the state database is; ErrUnknownEndpoint without db_size_api_plugin.
func (c *Client) DBSize(ctx context.Context) (d DBSize, err error) {
	err = c.read(ctx, "/v1/db_size/get", nil, &d)
	return d, err
}

// Metrics gives the Prometheus text; ErrUnknownEndpoint without prometheus_plugin.
func (c *Client) Metrics(ctx context.Context) (text []byte, err error) {
	err = c.read(ctx, "/v1/prometheus/metrics", nil, &text)
	return text, err
}
