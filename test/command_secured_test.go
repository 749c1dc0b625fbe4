package test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/security"
)

var joinString = regexp.MustCompile(`rtj1_\S+`)

// TestCommandsOverTLS works on a cluster as an operator does who sits elsewhere: with the cluster's CA and a token of each
// role, as contexts; and invites a member, which joins by what was printed.
func TestCommandsOverTLS(t *testing.T) {
	t.Parallel()
	s := layOutSecured(t, drill.Options{})
	s.start()
	c := cli{t, t.TempDir()}
	ca, one, two := security.InHome(s.Members[0].Home).CA, s.Members[0], s.Members[1]
	for role, token := range s.tokens {
		file := filepath.Join(t.TempDir(), "token")
		put(t, file, token+"\n")
		c.want(0, fmt.Sprintf("context add %s --server %s,%s --ca %s --token-file %s", role, one.API, two.API, ca, file), "added")
	}
	c.want(0, "context use operate", "current")

	c.want(0, "status", "cluster   sandbox")
	c.want(0, "maintenance on --member "+two.ID, "maintenance is on for "+two.ID)
	c.want(0, "maintenance off --member "+two.ID, "maintenance is off")
	c.want(0, "handoff --wait", " done: ")
	c.want(0, "status --context read", "cluster   sandbox")
	c.want(1, "handoff --context read", "this needs the role operate")
	c.want(1, "token list", "this needs the role admin")
	c.want(0, "token list --context admin", "operate")
	c.want(0, "token list --home "+two.Home, "operate") // whoever owns the home needs no token

	bare := "status --server " + one.API
	c.want(3, bare, "--ca FILE")
	c.want(1, bare+" --ca "+ca, "--token-file")
	c.want(0, bare+" --context read", "cluster   sandbox")
	c.want(1, bare+" --ca "+ca+" --token "+s.ended, "unauthenticated")
	c.want(1, "status --server http://"+strings.TrimPrefix(one.API, "https://"), "say https://")
	if _, out, errs := c.run("history --limit 200"); !strings.Contains(out, "token:operate") {
		t.Errorf("the history does not name who acted: %s%s", out, errs)
	}

	s.invite(c)
}

// invite lets a witness join and removes it again.
func (s *secured) invite(c cli) {
	t := s.t
	adding := c.prepare("members", "add", "m4", "--wait", "--timeout", "60s", "--context", "admin")
	out, err := adding.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	adding.Stderr = os.Stderr
	if err := adding.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	join := ""
	for join == "" && lines.Scan() {
		join = joinString.FindString(lines.Text())
	}
	if join == "" {
		t.Fatalf("no join string: %v", adding.Wait())
	}
	home := filepath.Join(s.Dir, "m4")
	args := []string{"init", "--home", home, "--join", join, "--advertise", "127.0.0.1", "--witness"}
	for _, flag := range []string{"--api", "--raft", "--gossip"} {
		port, err := drill.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, flag, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	}
	if out, err := c.prepare(args...).CombinedOutput(); err != nil {
		t.Fatalf("init --join: %v: %s", err, out)
	}
	manager := c.prepare("run", "--home", home)
	log, err := os.Create(filepath.Join(home, "manager.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	manager.Stderr = log
	if err := manager.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = manager.Process.Kill() // it may have ended by itself
		_ = manager.Wait()         // how it ended is not the matter
	}()
	said := ""
	for lines.Scan() {
		said += lines.Text() + "\n"
	}
	if err := adding.Wait(); err != nil || !strings.Contains(said, "m4 has joined and votes") {
		t.Errorf("members add --wait: %v: %s", err, said)
	}
	c.want(0, "members --home "+home, "witness")
	if code, out, _ := c.run("init --home " + home + "2 --join " + join); code == 0 || strings.Contains(out, join) {
		t.Errorf("the join string was taken twice: exit code %d: %s", code, out)
	}
	if found := grep(t, s.Dir, join); len(found) > 0 {
		t.Errorf("the join string stands in %v", found)
	}
	c.want(0, "members remove m4 --yes --wait --timeout 30s --context admin", "m4 is out of the raft group")
	eventually(t, 10*time.Second, "m4 to be gone in everybody's eyes", func(ctx context.Context) error {
		for _, m := range s.Members {
			var o api.Overview
			if err := s.get(ctx, m, "/cluster", &o); err != nil || len(o.Members) != len(s.Members) {
				return errors.Join(err, fmt.Errorf("%s sees %d members", m.ID, len(o.Members)))
			}
		}
		return nil
	})
}
