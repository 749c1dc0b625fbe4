package box

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"roundtable/api"
	"roundtable/drill"
)

// Fields are a JSON object.
type Fields map[string]any

// Send asks any running member; it tries the same request again while nobody leads, which a kill may well bring about, and another one
// where an operation is not begun because of how the cluster is at this moment: a machine that is busy with several may hold up all.
func (b *Box) Send(method, path string, body Fields, want int, v any) {
	b.T.Helper()
	key := rand.Text()
	b.Eventually(15*time.Second, method+" "+path, func(ctx context.Context) error {
		status, text, err := b.Ask(ctx, b.Running(), method, path, body, key)
		switch {
		case err != nil:
			return err
		case status == http.StatusConflict && strings.Contains(string(text), "is not begun: "):
			key = rand.Text()
			fallthrough
		case status == http.StatusServiceUnavailable:
			return fmt.Errorf("%d %s", status, text)
		case status != want:
			b.T.Fatalf("%s %s %v: %d %s", method, path, body, status, text)
		}
		if v == nil {
			return nil
		}
		return json.Unmarshal(text, v)
	})
}

// Ask asks one member. Whoever repeats a request that changes something gives it a key.
func (b *Box) Ask(ctx context.Context, m *drill.Member, method, path string, body Fields, key ...string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var send io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		send = strings.NewReader(string(text))
	}
	req, err := http.NewRequestWithContext(ctx, method, m.API+path, send)
	if err != nil {
		return 0, nil, err
	}
	for _, k := range key {
		req.Header.Set("Idempotency-Key", k)
	}
	resp, err := m.Client().Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, text, err
}

// Order starts an operation and returns its id.
func (b *Box) Order(path string, body Fields) string {
	b.T.Helper()
	var answer struct{ Operation string }
	b.Send(http.MethodPost, path, body, http.StatusAccepted, &answer)
	return answer.Operation
}

// Stands is how an operation stands, as the member says that has come furthest with it, or knows why it does not go on.
func (b *Box) Stands(ctx context.Context, id string) (o api.Operation, err error) {
	err = errors.New("nobody answers")
	for _, m := range b.Members {
		if !m.Running() {
			continue
		}
		var one api.Operation
		status, text, failed := b.Ask(ctx, m, http.MethodGet, "/cluster/operations/"+id, nil)
		if failed == nil && status == http.StatusOK {
			failed = json.Unmarshal(text, &one)
		} else if failed == nil {
			failed = fmt.Errorf("%d %s", status, text)
		}
		if failed == nil && (err != nil || one.Ended != "" || len(one.Steps) > len(o.Steps) || len(one.Steps) == len(o.Steps) && one.Reason != "") {
			o, err = one, nil
		}
	}
	return o, err
}

// End waits for an operation's end.
func (b *Box) End(id string, limit time.Duration) api.Operation {
	b.T.Helper()
	var o api.Operation
	b.Eventually(limit, "the end of operation "+id, func(ctx context.Context) (err error) {
		if o, err = b.Stands(ctx, id); err == nil && o.Ended == "" {
			err = At(o)
		}
		return err
	})
	return o
}

// At is where an operation is that has not ended, as an error.
func At(o api.Operation) error {
	text := "it is at: " + o.Message
	if o.Reason != "" {
		text += "; " + o.Reason
	}
	return errors.New(text)
}

// Done does an operation to a good end.
func (b *Box) Done(path string, body Fields, limit time.Duration) api.Operation {
	b.T.Helper()
	o := b.End(b.Order(path, body), limit)
	if o.Outcome != "done" {
		b.T.Fatalf("%s %v is %s: %s", path, body, o.Outcome, o.Reason)
	}
	return o
}

// Listed are the operations of a kind that the cluster knows, oldest first.
func (b *Box) Listed(kind string) (list []api.Operation) {
	b.T.Helper()
	b.Eventually(10*time.Second, "the list of operations", func(ctx context.Context) error {
		status, text, err := b.Ask(ctx, b.Running(), http.MethodGet, "/cluster/operations", nil)
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("%d %s %w", status, text, err)
		}
		var all []api.Operation
		if err := json.Unmarshal(text, &all); err != nil {
			return err
		}
		list = slices.DeleteFunc(all, func(o api.Operation) bool { return o.Kind != kind })
		slices.SortFunc(list, func(a, b api.Operation) int { return strings.Compare(a.Started, b.Started) })
		return nil
	})
	return list
}

// Told is all that an operation says of what went wrong, or came out of it.
func Told(o api.Operation) string {
	list := []string{o.Reason, o.Fault}
	for _, s := range o.Steps {
		for _, p := range s.Parts {
			list = append(list, p.Text, p.Fault)
		}
	}
	return strings.Join(slices.Compact(slices.DeleteFunc(list, func(s string) bool { return s == "" })), "; ")
}

// LeadElsewhere lets another member lead.
func (b *Box) LeadElsewhere(m *drill.Member, limit time.Duration) *drill.Member {
	b.T.Helper()
	b.Eventually(limit, "another leader", func(ctx context.Context) error { // raft gives a transfer little time
		status, text, err := b.Ask(ctx, b.Running(), http.MethodPost, "/cluster/leader/transfer", Fields{"to": b.Other(m.ID).ID})
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d %s", status, text)
		}
		return err
	})
	return b.Get(b.Seen(m.ID+" still leads", func(o drill.Overview) bool { return o.Leader != "" && o.Leader != m.ID }).Leader)
}
