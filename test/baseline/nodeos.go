package baseline

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// slot is the time of a block; slotEpoch is slot 0 in Unix milliseconds.
const (
	slot      = 500 * time.Millisecond
	slotEpoch = 946684800000
)

// askTime is how long nodeos may take for an answer.
const askTime = time.Second

// nodeos is the node's HTTP API.
type nodeos struct {
	url  string
	http *http.Client
}

func newNodeos(address string) *nodeos {
	return &nodeos{url: "http://" + address, http: &http.Client{Timeout: askTime, Transport: &http.Transport{MaxIdleConnsPerHost: 2}}}
}

// head is the node's head block.
type head struct {
	num  uint32
	slot uint64
}

// info gives the head, and the last irreversible block.
func (n *nodeos) info(ctx context.Context) (head, blockRef, error) {
	var info struct {
		Num   uint32 `json:"head_block_num"`
		Time  string `json:"head_block_time"`
		LIB   uint32 `json:"last_irreversible_block_num"`
		LIBID string `json:"last_irreversible_block_id"`
	}
	if err := n.post(ctx, "/v1/chain/get_info", nil, &info); err != nil {
		return head{}, blockRef{}, err
	}
	at, err := time.Parse("2006-01-02T15:04:05.000", info.Time)
	if err != nil {
		return head{}, blockRef{}, fmt.Errorf("baseline: nodeos: %w", err)
	}
	return head{info.Num, uint64(max(0, at.UnixMilli()-slotEpoch)) / 500}, blockRef{info.LIB, info.LIBID}, nil
}

func (n *nodeos) paused(ctx context.Context) (bool, error) {
	var paused bool
	err := n.post(ctx, "/v1/producer/paused", nil, &paused)
	return paused, err
}

func (n *nodeos) pause(ctx context.Context) error { return n.post(ctx, "/v1/producer/pause", nil, nil) }

func (n *nodeos) resume(ctx context.Context) error {
	return n.post(ctx, "/v1/producer/resume", nil, nil)
}

// post asks; without a body where nodeos expects none, for it refuses one there.
func (n *nodeos) post(ctx context.Context, path string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("baseline: %w", err)
	}
	resp, err := n.http.Do(req)
	if err != nil {
		return fmt.Errorf("baseline: nodeos: %w", err)
	}
	return answer(resp, out)
}

// answer reads an HTTP answer, and decodes a good one into out unless that is nil.
func answer(resp *http.Response, out any) error {
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("baseline: %s: %w", resp.Request.URL.Path, err)
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("baseline: %s: %s: %s", resp.Request.URL.Path, resp.Status, strings.TrimSpace(string(text)))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("baseline: %s: %w", resp.Request.URL.Path, err)
	}
	return nil
}
