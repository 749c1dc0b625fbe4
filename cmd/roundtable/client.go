package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	defaultServer = "http://127.0.0.1:9080"
	readTime      = 4 * time.Second  // for one answer: a server never waits before it shows what it knows
	changeTime    = 15 * time.Second // the same for a change: a server gives itself 10 s to commit it
	maxAnswer     = 16 << 20

	// After so long without an answer the next server is asked as well.
	readHedge   = 300 * time.Millisecond
	changeHedge = 500 * time.Millisecond
)

// app is what the asking commands share: where to ask and how to print.
type app struct {
	stdout, stderr io.Writer
	environ        func(string) string

	servers       []string
	output        string
	ca, cert, key string
}

// client adds the flags of a command that asks a manager, and prepares them before it runs.
func (a *app) client(cmd *cobra.Command) *cobra.Command {
	f := cmd.Flags()
	f.StringSliceVar(&a.servers, "server", nil, "URL of any member's API, or several: the next one is asked when one is slow (environment ROUNDTABLE_SERVER, default "+defaultServer+")")
	f.StringVar(&a.output, "output", "table", "table, json or yaml")
	f.StringVar(&a.ca, "ca", "", "file with the cluster's CA certificate (environment ROUNDTABLE_CA)")
	f.StringVar(&a.cert, "cert", "", "file with a client certificate (environment ROUNDTABLE_CERT)")
	f.StringVar(&a.key, "key", "", "file with its key (environment ROUNDTABLE_KEY)")
	cmd.PreRunE = func(*cobra.Command, []string) error { return a.prepare() }
	return cmd
}

// prepare checks the flags and lays them over the environment.
func (a *app) prepare() error {
	switch a.output {
	case "table", "json", "yaml":
	default:
		return usagef("", "--output must be table, json or yaml, not %q", a.output)
	}
	for flag, name := range map[*string]string{&a.ca: "ROUNDTABLE_CA", &a.cert: "ROUNDTABLE_CERT", &a.key: "ROUNDTABLE_KEY"} {
		if *flag == "" {
			*flag = a.environ(name)
		}
	}
	if len(a.servers) == 0 {
		a.servers = strings.FieldsFunc(a.environ("ROUNDTABLE_SERVER"), func(r rune) bool { return r == ',' || r == ' ' })
	}
	if len(a.servers) == 0 {
		a.servers = []string{defaultServer}
	}
	var servers []string // each once
	for i, s := range a.servers {
		if !strings.Contains(s, "://") {
			s = "http://" + s
		}
		u, err := url.Parse(s)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return usagef("such as "+defaultServer, "--server %q is not the URL of an API", a.servers[i])
		}
		if s = strings.TrimSuffix(s, "/"); !slices.Contains(servers, s) {
			servers = append(servers, s)
		}
	}
	a.servers = servers
	return nil
}

// http makes the client for one command.
func (a *app) http() (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if a.ca != "" {
		pem, err := os.ReadFile(a.ca)
		if err != nil {
			return nil, usagef("name the cluster's CA certificate with --ca", "%v", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usagef("name the cluster's CA certificate with --ca", "%s holds no certificate", a.ca)
		}
	}
	if a.cert != "" || a.key != "" {
		pair, err := tls.LoadX509KeyPair(a.cert, a.key)
		if err != nil {
			return nil, usagef("--cert and --key go together", "%v", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment}}, nil
}

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
	client, err := a.http()
	if err != nil {
		return reply{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		server string
		reply  reply
		err    error
	}
	change, hedge := method != http.MethodGet, readHedge
	if change {
		hedge = changeHedge
	}
	key, results, waiting := rand.Text(), make(chan result, len(a.servers)), []string{}
	servers := a.servers
	slow := time.NewTimer(hedge)
	defer slow.Stop()
	start := func() {
		if len(servers) == 0 {
			return
		}
		server := servers[0]
		servers, waiting = servers[1:], append(waiting, server)
		if change {
			printf(a.stderr, "asking %s ...", server)
		}
		go func() {
			r, err := send(ctx, client, method, server+path, key, body)
			results <- result{server, r, err}
		}()
		slow.Reset(hedge)
	}
	var refusal *reply
	var patience <-chan time.Time // for a better answer than the refusal
	var errs []string
	for start(); len(waiting) > 0; {
		select {
		case <-slow.C:
			start()
			continue
		case <-patience:
			if change { // a frozen manager reads its requests when it goes on
				printf(a.stderr, "no answer from %s: it may still do it when it gets the request", strings.Join(waiting, ", "))
			}
			return *refusal, nil
		case <-ctx.Done():
			if refusal != nil {
				return *refusal, nil
			}
			return reply{}, ctx.Err()
		case r := <-results:
			waiting = slices.DeleteFunc(waiting, func(s string) bool { return s == r.server })
			switch {
			case r.err != nil:
				errs = append(errs, r.err.Error())
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
	return reply{}, &failure{exitUnreachable, "no manager answered: " + strings.Join(errs, "; "), "is one running? name any member with --server URL or ROUNDTABLE_SERVER"}
}

// prefer asks a server that answered first the next time.
func (a *app) prefer(server string) {
	list := []string{server}
	for _, s := range a.servers {
		if s != server {
			list = append(list, s)
		}
	}
	a.servers = list
}

func send(ctx context.Context, client *http.Client, method, target, key string, body any) (reply, error) {
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
	req, err := http.NewRequestWithContext(ctx, method, target, payload)
	if err != nil {
		return reply{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := client.Do(req)
	var at *url.Error
	switch {
	case errors.As(err, &at) && at.Timeout():
		return reply{}, fmt.Errorf("%s did not answer in %s", target, limit)
	case err != nil:
		return reply{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return reply{}, fmt.Errorf("%s: the answer broke off: %w", target, err)
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

// refused makes a failure of an error answer.
func refused(r reply) error {
	var e struct {
		Error struct {
			Code, Message, Hint string
		}
	}
	if err := json.Unmarshal(r.body, &e); err != nil || e.Error.Message == "" {
		return &failure{exitFailed, fmt.Sprintf("the server answered %d %s", r.status, http.StatusText(r.status)), "is this the API of a roundtable manager?"}
	}
	return &failure{exitFailed, e.Error.Message + " [" + e.Error.Code + "]", e.Error.Hint}
}

// get asks with GET, and shows the answer as table, JSON or YAML. v points to what the table is made of.
func (a *app) get(ctx context.Context, path string, v any, table func(w io.Writer)) error {
	raw, err := a.call(ctx, http.MethodGet, path, nil, v)
	if err != nil {
		return err
	}
	return a.show(raw, table)
}
