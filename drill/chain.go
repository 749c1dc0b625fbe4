package drill

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// ReadChain reads a node's chain by its HTTP API, from a block number on to the head that it has now.
func ReadChain(ctx context.Context, client *http.Client, url string, from uint32) ([]ChainBlock, error) {
	head, err := headOf(ctx, client, url)
	if err != nil {
		return nil, err
	}
	return readChain(ctx, client, url, from, head)
}

// readChain reads a node's chain between two block numbers.
func readChain(ctx context.Context, client *http.Client, url string, from, head uint32) ([]ChainBlock, error) {
	var list []ChainBlock
	for num := from; num <= head; num++ {
		var b struct {
			Num       uint32 `json:"block_num"`
			ID        string `json:"id"`
			Timestamp string `json:"timestamp"`
			Previous  string `json:"previous"`
			Producer  string `json:"producer"`
		}
		if err := post(ctx, client, url+"/v1/chain/get_block_info", fmt.Sprintf(`{"block_num":%d}`, num), &b); err != nil {
			return nil, err
		}
		at, err := time.Parse("2006-01-02T15:04:05.000", b.Timestamp)
		if err != nil {
			return nil, fmt.Errorf("drill: block %d: %w", num, err)
		}
		list = append(list, ChainBlock{Num: b.Num, Slot: slotAt(at), ID: b.ID, Previous: b.Previous, Producer: b.Producer})
	}
	return list, nil
}

// headOf is the number of a node's head block.
func headOf(ctx context.Context, client *http.Client, url string) (uint32, error) {
	t, err := tipOf(ctx, client, url)
	return t.Head, err
}

// tip is where a node's chain begins and ends.
type tip struct {
	First        uint32 `json:"earliest_available_block_num"` // more than 1: it began with a snapshot
	Irreversible uint32 `json:"last_irreversible_block_num"`
	Head         uint32 `json:"head_block_num"`
}

func tipOf(ctx context.Context, client *http.Client, url string) (t tip, err error) {
	err = get(ctx, client, url+"/v1/chain/get_info", &t)
	return t, err
}

// Chain reads the chain of ours from the node whose head is best of those that have it, from a block number on. What Remember kept
// is taken from there.
func (s *Sandbox) Chain(ctx context.Context, from uint32) ([]ChainBlock, error) {
	list, _, err := s.read(ctx, from)
	return list, err
}

// read reads the chain, and says up to where it is irreversible.
func (s *Sandbox) read(ctx context.Context, from uint32) ([]ChainBlock, uint32, error) {
	var list []ChainBlock
	if n := len(s.kept); n > 0 && s.kept[0].Num <= from && from <= s.kept[n-1].Num {
		list = slices.Clone(s.kept[from-s.kept[0].Num:])
		from = s.kept[n-1].Num + 1
	}
	var best *Member
	var end tip
	for _, m := range s.Members {
		if t, err := tipOf(ctx, s.http, m.NodeHTTP()); err == nil && t.Head > end.Head && t.First <= from {
			best, end = m, t
		}
	}
	if best == nil {
		return nil, 0, fmt.Errorf("drill: no node answers that has block %d", from)
	}
	more, err := readChain(ctx, s.http, best.NodeHTTP(), from, end.Head)
	return append(list, more...), end.Irreversible, err
}

// Remember keeps the irreversible part of the chain: a node that is restored from a snapshot has no older blocks, and the checker
// counts them all.
func (s *Sandbox) Remember(ctx context.Context) error {
	list, end, err := s.read(ctx, 2) // block 1 is the genesis
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(list, func(b ChainBlock) bool { return b.Num > end }); i >= 0 {
		list = list[:i]
	}
	s.kept = list
	return nil
}

// chains reads the end of each member's chain; whole is one of them. Where all must be well a node that does not answer is
// an error.
func (s *Sandbox) chains(ctx context.Context, whole []ChainBlock, well bool) ([][]ChainBlock, error) {
	const end = 100 // blocks: a fork that lasts reaches to the head
	chains := [][]ChainBlock{whole}
	for _, m := range s.Members {
		t, err := tipOf(ctx, s.http, m.NodeHTTP())
		if err != nil {
			if well {
				return nil, fmt.Errorf("the chain of %s: %w", m.ID, err)
			}
			continue // a node that does not run has no chain to ask for
		}
		c, err := readChain(ctx, s.http, m.NodeHTTP(), max(2, t.Head-min(end, t.Head), t.First), t.Head)
		if err != nil {
			return nil, err
		}
		chains = append(chains, c)
	}
	return chains, nil
}

// get asks for JSON.
func get(ctx context.Context, client *http.Client, url string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	return do(client, req, v)
}

// post sends a JSON body.
func post(ctx context.Context, client *http.Client, url, body string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	return do(client, req, v)
}

func do(client *http.Client, req *http.Request, v any) error {
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("drill: %s %s: %s: %s", req.Method, req.URL.Path, resp.Status, strings.TrimSpace(string(b)))
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("drill: %s: %w", req.URL.Path, err)
	}
	return nil
}
