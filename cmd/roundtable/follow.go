package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"roundtable/api"
)

const (
	silenceTime = 40 * time.Second // without a line a member is taken for frozen: it sends one every 15 s
	retryTime   = time.Second      // between rounds over all members
	maxEvent    = 1 << 20          // bytes of a line
)

// follower reads the event stream of one member after another. What it has shown last decides where the next one goes on,
// so that it does not matter which member says it.
type follower struct {
	*app
	wanted  wanted
	silence time.Duration
	learned bool
	lost    bool  // a stream
	shown   error // of standard output
}

// run follows until ctx ends, which is no failure. It fails where no member was reached at all, or where one refuses for a
// reason that another would have as well.
func (f *follower) run(ctx context.Context) error {
	connected := false
	var errs []error // since the last stream began, one for each server
	for {
		s := f.servers[0]
		took, err := f.stream(ctx, s)
		var final *failure
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // ^C is how it ends
		case f.shown != nil:
			return f.shown
		case errors.As(err, &final):
			return err
		case took:
			connected, f.lost, errs = true, true, nil
			f.err.line("%s: the stream ended: %v", s.name, err)
		}
		errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
		f.later(s)
		if len(errs) < len(f.servers) {
			continue
		}
		if !connected {
			return nobody(errs)
		}
		errs = nil
		wait := time.NewTimer(retryTime)
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-wait.C:
		}
	}
}

// later asks a server after all others.
func (f *follower) later(s *server) {
	f.servers = append(slices.DeleteFunc(slices.Clone(f.servers), func(o *server) bool { return o == s }), s)
}

// stream shows the events of one member until it ends; took says that it had begun. A *failure is final.
func (f *follower) stream(ctx context.Context, s *server) (took bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	hurry := func(limit time.Duration) *time.Timer {
		return time.AfterFunc(limit, func() { cancel(fmt.Errorf("nothing came for %s", limit)) })
	}
	silence := hurry(readTime)
	defer func() { silence.Stop() }()
	req, err := s.request(ctx, http.MethodGet, "/cluster/events", nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("Accept", "text/event-stream")
	from := "0" // all that is remembered
	if f.wanted.after != (cursor{}) {
		from = f.wanted.after.String()
	}
	req.Header.Set("Last-Event-ID", from)
	resp, err := s.do(req)
	if err != nil {
		return false, because(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxEvent)) // what there is of it
		err := refused(reply{resp.StatusCode, body})
		if resp.StatusCode >= http.StatusInternalServerError || resp.StatusCode == http.StatusTooManyRequests {
			return false, errors.New(err.Error()) // another one may take it
		}
		return false, err
	}
	if f.lost {
		f.err.line("%s goes on", s.name)
	}
	silence.Stop()
	f.learn(ctx, s)
	silence = hurry(f.silence)
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxEvent)
	var id, kind, data string
	for lines.Scan() {
		silence.Reset(f.silence)
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case field == "id":
			id = value
		case field == "event":
			kind = value
		case field == "data":
			data += value
		case lines.Text() == "":
			if f.shown = f.take(kind, id, data); f.shown != nil {
				return true, f.shown
			}
			id, kind, data = "", "", ""
		}
	}
	err = lines.Err()
	if err == nil {
		err = io.EOF
	}
	return true, because(ctx, err)
}

// because is why a context was cancelled, where that ended it.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// take shows an event that was not shown before.
func (f *follower) take(kind, id, data string) error {
	switch kind {
	case "history":
		at, ok := parseCursor(id)
		e := event{id: at, raw: json.RawMessage(data)}
		if err := json.Unmarshal(e.raw, &e.line); err != nil || !ok {
			return &failure{exitFailed, "an event of the server's is not understood", "is it of this version? see: roundtable version"}
		}
		if f.wanted.has(e) {
			if err := f.showEvent(e); err != nil {
				return err
			}
		}
		if at.after(f.wanted.after) {
			f.wanted.after = at
		}
	case "gap":
		if f.wanted.after != (cursor{}) {
			f.err.para("31", "!   ", "the history reaches back no longer to event "+f.wanted.after.String()+": some of what happened since is missing here")
		}
	}
	return nil
}

// learn adds the other members to those that can be asked, once.
func (f *follower) learn(ctx context.Context, s *server) {
	if !f.learned {
		f.servers, f.learned = f.withMembers(ctx, f.servers, s)
	}
}

// withMembers adds the other members of a server's cluster to a list of servers; learned says that they are known. A socket is asked
// without a token, which they would want.
func (a *app) withMembers(ctx context.Context, list []*server, s *server) (all []*server, learned bool) {
	if s.local {
		return list, false
	}
	var members []api.Member
	r, err := s.send(ctx, http.MethodGet, "/cluster/members", "", nil)
	if err != nil || json.Unmarshal(r.body, &members) != nil {
		return list, false // the servers that were named must do
	}
	all = slices.Clone(list)
	for _, m := range members {
		other, err := parseServer(m.API, false)
		known := func(o *server) bool { return o.name == other.name }
		if err != nil || other.local || s.token != "" && !private(other.base) || slices.ContainsFunc(all, known) {
			continue
		}
		other.client, other.token = s.client, s.token
		all = append(all, other)
	}
	return all, true
}
