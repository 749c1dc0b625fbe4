package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"roundtable/api"
	"roundtable/durable"
	"roundtable/security"
)

const (
	// joinedFile keeps the cluster's answer until the home is complete: the invite is used up by then.
	joinedFile = "joined.json"
	joinTime   = 30 * time.Second
)

// joinCluster makes the home of a member that was invited.
func (a *app) joinCluster(ctx context.Context, l layout) error {
	text, err := a.joinText(l.join)
	if err != nil {
		return err
	}
	join, err := security.ParseJoin(text)
	if err != nil {
		return usagef("copy what roundtable member add printed, all of it", "%v", err)
	}
	home, err := filepath.Abs(l.home)
	if err != nil {
		return err
	}
	if err := untouched(home); err != nil {
		return err
	}
	l.id = join.Member
	m := l.member(home, l.id, l.advertise)
	m.cluster, m.producers, m.joins = "unknown", []string{"unknown"}, []string{"unknown:1"} // the cluster will say
	if err := m.check(); err != nil {
		return err
	}
	files := security.InHome(home)
	key, err := files.MemberKey()
	if err != nil {
		return err
	}
	joined, err := a.joined(ctx, home, join, key, m.sans())
	if err != nil {
		return err
	}
	issued := security.Issued{Cert: []byte(joined.Certificate), CA: []byte(joined.CA)}
	if err := issued.Check(key, join.Member, join.CAs, a.now()); err != nil {
		return fmt.Errorf("the cluster's answer is not used: %w", err)
	}
	if _, err := security.ParseGossipKeys([]byte(joined.GossipKey)); err != nil {
		return fmt.Errorf("the cluster's answer is not used: %w", err)
	}
	m.cluster, m.producers, m.joins, m.peers = joined.Cluster, joined.Producers, joined.Join, joined.P2P
	if err := m.check(); err != nil {
		return err
	}
	if err := files.Put(issued, []byte(joined.GossipKey)); err != nil {
		return err
	}
	if err := m.complete(); err != nil {
		return err
	}
	if err := errors.Join(os.Remove(filepath.Join(home, joinedFile)), durable.Sync(home)); err != nil {
		return err
	}
	a.say("%s is the home of %s, a member of cluster %s. Others reach it at %s.", home, m.id, m.cluster, m.advertise)
	a.nextSteps(m)
	return nil
}

// joined asks the cluster to let this member in, or takes the answer that an interrupted run has left.
func (a *app) joined(ctx context.Context, home string, join security.Join, key []byte, hosts []string) (api.Joined, error) {
	file := filepath.Join(home, joinedFile)
	var j api.Joined
	switch b, err := os.ReadFile(file); {
	case err == nil:
		if err := json.Unmarshal(b, &j); err != nil || j.ID != join.Member {
			return j, &failure{exitFailed, file + " is not the answer for " + join.Member, "remove it, and the folder tls, and use a new join string"}
		}
		a.say("going on with the answer that %s was given before", join.Member)
		return j, nil
	case !errors.Is(err, fs.ErrNotExist):
		return j, err
	}
	request, err := security.RequestFor(key, join.Member, hosts)
	if err != nil {
		return j, err
	}
	if j, err = a.askToJoin(ctx, join, request); err != nil {
		return j, err
	}
	b, err := json.Marshal(j)
	if err != nil {
		return j, err
	}
	return j, durable.Write(file, b) // 0600: the gossip key is in it
}

// askToJoin asks the members of the join string in turn, until one answers for the cluster. Each must have a certificate of
// the cluster's CA before it is shown the invite.
func (a *app) askToJoin(ctx context.Context, join security.Join, request []byte) (j api.Joined, err error) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: security.Introduction(join.CAs, a.now), DisableKeepAlives: true}, CheckRedirect: stay}
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	var all []error
	for _, url := range join.APIs {
		err := api.AskMember(ctx, client, url, "/cluster/join", api.JoinRequest{ID: join.Member, Invite: join.Invite, CSR: string(request)}, &j)
		var said *api.Error
		switch {
		case err == nil:
			return j, nil
		case errors.As(err, &said) && said.Status < http.StatusInternalServerError && said.Status != http.StatusTooManyRequests:
			return j, &failure{exitFailed, fmt.Sprintf("the cluster refuses it: %s (%s)", said.Message, said.Code), said.Hint}
		case errors.As(err, &said):
			err = fmt.Errorf("%s (%s)", said.Message, said.Code)
		}
		all = append(all, fmt.Errorf("%s: %w", url, err))
	}
	return j, &failure{exitUnreachable, fmt.Sprintf("no member let %s in:\n%v", join.Member, errors.Join(all...)), "can this machine reach one of them at its API's port? If one says that the invite was used: ask for a new one"}
}
