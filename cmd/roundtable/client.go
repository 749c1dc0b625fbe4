package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	readTime   = 4 * time.Second  // for one answer: a server never waits before it shows what it knows
	changeTime = 15 * time.Second // the same for a change: a server gives itself 10 s to commit it
	maxAnswer  = 16 << 20

	// After so long without an answer the next server is asked as well.
	readHedge   = 300 * time.Millisecond
	changeHedge = 500 * time.Millisecond
)

// reply is one server's answer.
type reply struct {
	status int
	body   []byte
}

// ask sends a request to the servers, the next one when one fails or is slow, until one answers with anything but 503 (a
// member that knows no leader may be cut off from the others). A 503 is taken when no other answer follows soon. Every
// try of a request that changes something carries the same idempotency key, so that it happens once. The error is ctx's
// where that ended it.
func (a *app) ask(ctx context.Context, method, path string, body any) (reply, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		server *server
		reply  reply
		err    error
	}
	change, hedge := method != http.MethodGet, readHedge
	if change {
		hedge = changeHedge
	}
	key, results, waiting := rand.Text(), make(chan result, len(a.servers)), []*server{}
	servers := a.servers
	slow := time.NewTimer(hedge)
	defer slow.Stop()
	start := func() {
		if len(servers) == 0 {
			return
		}
		s := servers[0]
		servers, waiting = servers[1:], append(waiting, s)
		if change && len(waiting) > 1 {
			a.err.line("no answer from %s yet, asking %s ...", names(waiting[:len(waiting)-1]), s.name)
		}
		go func() {
			r, err := s.send(ctx, method, path, key, body)
			results <- result{s, r, err}
		}()
		slow.Reset(hedge)
	}
	var refusal *reply
	var patience <-chan time.Time // for a better answer than the refusal
	var errs []error
	for start(); len(waiting) > 0; {
		select {
		case <-slow.C:
			start()
			continue
		case <-patience:
			if change { // a frozen manager reads its requests when it goes on
				a.err.line("no answer from %s: it may still do it when it gets the request", names(waiting))
			}
			return *refusal, nil
		case <-ctx.Done():
			if refusal != nil {
				return *refusal, nil
			}
			return reply{}, ctx.Err()
		case r := <-results:
			waiting = slices.DeleteFunc(waiting, func(s *server) bool { return s == r.server })
			switch {
			case r.err != nil:
				errs = append(errs, fmt.Errorf("%s: %w", r.server.name, r.err))
			case bytes.Contains(r.reply.body, []byte(`"shown_before"`)): // another server has the answer with the secret
				refusal = &r.reply
			case r.reply.status != http.StatusServiceUnavailable:
				a.prefer(r.server)
				return r.reply, nil
			case refusal == nil:
				refusal, patience = &r.reply, time.After(changeHedge)
			}
			start()
		}
	}
	switch {
	case refusal != nil:
		return *refusal, nil
	case ctx.Err() != nil:
		return reply{}, ctx.Err()
	}
	return reply{}, nobody(errs)
}

// nobody is the failure of servers that all gave no answer.
func nobody(errs []error) error {
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = err.Error()
	}
	return &failure{exitUnreachable, "no manager answered: " + strings.Join(texts, "; "), unreached(errs)}
}

func names(servers []*server) string {
	list := make([]string, len(servers))
	for i, s := range servers {
		list[i] = s.name
	}
	return strings.Join(list, ", ")
}

// prefer asks a server that answered first the next time.
func (a *app) prefer(s *server) {
	a.servers = append([]*server{s}, slices.DeleteFunc(slices.Clone(a.servers), func(o *server) bool { return o == s })...)
}

// request prepares a request with the token.
func (s *server) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, body)
	if err != nil {
		return nil, err
	}
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+string(s.token))
	}
	return req, nil
}

// do sends a request; its error does not repeat where to.
func (s *server) do(req *http.Request) (*http.Response, error) {
	resp, err := s.client.Do(req)
	var at *url.Error
	if errors.As(err, &at) && !at.Timeout() {
		err = at.Err
	}
	return resp, err
}

func (s *server) send(ctx context.Context, method, path, key string, body any) (reply, error) {
	limit := readTime
	if method != http.MethodGet {
		limit = changeTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return reply{}, err
		}
		payload = bytes.NewReader(b)
	}
	req, err := s.request(ctx, method, path, payload)
	if err != nil {
		return reply{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if method != http.MethodGet {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := s.do(req)
	var at *url.Error
	switch {
	case errors.As(err, &at): // the others are unwrapped
		return reply{}, fmt.Errorf("no answer in %s", limit)
	case err != nil:
		return reply{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return reply{}, fmt.Errorf("the answer broke off: %w", err)
	}
	return reply{resp.StatusCode, b}, nil
}

// call asks, and decodes a good answer into v; a bad one is a failure with the server's message and hint. It returns the
// answer as it came, for --output json.
func (a *app) call(ctx context.Context, method, path string, body, v any) ([]byte, error) {
	r, err := a.ask(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	if r.status >= http.StatusMultipleChoices {
		return nil, refused(r)
	}
	if err := json.Unmarshal(r.body, v); err != nil {
		return nil, &failure{exitFailed, fmt.Sprintf("the answer is not understood: %v", err), "is this the API of a roundtable manager, of this version? see: roundtable version"}
	}
	return r.body, nil
}

// get asks with GET, and shows the answer as table, JSON or YAML. v points to what the table is made of.
func (a *app) get(ctx context.Context, path string, v any, table func(w *printer)) error {
	raw, err := a.call(ctx, http.MethodGet, path, nil, v)
	if err != nil {
		return err
	}
	return a.show(raw, table)
}

// refused makes a failure of an error answer. What the server says comes first; where a token is the matter, where one is
// to be given is added.
func refused(r reply) error {
	var e struct {
		Error struct {
			Code, Message, Hint string
		}
	}
	if err := json.Unmarshal(r.body, &e); err != nil || e.Error.Message == "" {
		hint := "is this the API of a roundtable manager?"
		if bytes.Contains(r.body, []byte("HTTP request to an HTTPS server")) {
			hint = "it speaks TLS: say https://"
		}
		return &failure{exitFailed, fmt.Sprintf("the server answered %d %s", r.status, http.StatusText(r.status)), hint}
	}
	f := &failure{exitFailed, e.Error.Message + " [" + e.Error.Code + "]", e.Error.Hint}
	switch r.status {
	case http.StatusUnauthorized:
		f.hint = "give a token with --token-file FILE, ROUNDTABLE_TOKEN or a context (roundtable context add); on a manager's own machine --home DIR needs none"
	case http.StatusForbidden:
		f.hint = firstOf(f.hint, "who has the role admin can make a token: roundtable token create NAME --role ROLE")
	}
	return f
}

// change asks for a change, and shows what came of it.
func (a *app) change(ctx context.Context, method, path string, body, v any, table func(w *printer)) error {
	raw, err := a.call(ctx, method, path, body, v)
	if err != nil {
		return unknown(err, "whether it happened", "look with: roundtable status")
	}
	return a.show(raw, table)
}

// unknown is the failure where a request for a change was given up without an answer; any other error stays as it is.
func unknown(err error, what, hint string) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &failure{exitTimeout, "no manager answered in time: " + what + " is not known", hint}
	}
	return err
}
