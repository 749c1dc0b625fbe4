package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"roundtable/api"
	"roundtable/cluster"
	"roundtable/fsm"
)

// transcript runs command lines against a server and writes down what a user and the server see of them.
type transcript struct {
	t    *testing.T
	api  *fakeAPI
	text strings.Builder
}

// key is what differs from run to run.
var keyPattern = regexp.MustCompile(`^[A-Z2-7]{26}$`)

func (s *transcript) run(line string) {
	s.t.Helper()
	s.api.asked, s.api.bodies = nil, nil
	code, out, errs := command(append(strings.Fields(line), "--server", s.api.URL)...)
	fmt.Fprintf(&s.text, "$ roundtable %s\n", line)
	for i, r := range s.api.asked {
		if r.Method == http.MethodGet {
			continue
		}
		if !keyPattern.MatchString(r.Header.Get("Idempotency-Key")) {
			s.t.Errorf("%s: no idempotency key", line)
		}
		fmt.Fprintf(&s.text, "> %s %s %s\n", r.Method, r.URL.Path, s.api.bodies[i])
	}
	s.text.WriteString(out)
	for l := range strings.Lines(errs) {
		s.text.WriteString("stderr: " + l)
	}
	if code != exitDone {
		fmt.Fprintf(&s.text, "exit %d\n", code)
	}
	s.text.WriteString("\n")
}

func raftWith(id, suffrage string) cluster.RaftStatus {
	s := cluster.RaftStatus{ID: "a", State: "leader", Peers: []cluster.RaftPeer{{ID: "a", Suffrage: "voter"}}}
	if suffrage != "" {
		s.Peers = append(s.Peers, cluster.RaftPeer{ID: id, Suffrage: suffrage})
	}
	return s
}

// TestActs: what each acting command sends and says.
func TestActs(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	s := &transcript{t: t, api: f}
	d := exampleMembers()[2]
	d.ID, d.Priority, d.NoFailover = "d", 10, true
	f.answer("POST /cluster/members", http.StatusCreated, api.Invited{ID: "d", Join: "rtj1_JOINSTRING", Expires: "2026-11-21T13:00:00.000Z"})
	f.on("GET /cluster/members/d", d)
	f.on("GET /cluster/raft", raftWith("d", "nonvoter"), raftWith("d", "voter"))
	f.on("DELETE /cluster/members/d", api.Removed{Index: 80, ID: "d"})
	f.answer("DELETE /cluster/members/a", http.StatusConflict, `{"error":{"code":"member.holds","message":"the holder cannot be removed: \"a\"","hint":"hand over first"}}`)
	f.on("PATCH /cluster/members/d", api.MemberSet{Index: 81, Member: d})
	s.run("members add d")
	s.run("members add d --ttl 1d --wait")
	s.run("members add d --ttl soon")
	s.run("member add d --output json")
	s.run("members promote d --wait")
	f.on("GET /cluster/raft", raftWith("d", "voter"), raftWith("d", "nonvoter"))
	s.run("members demote d --wait")
	s.run("members set d --priority 10 --nofailover")
	s.run("members set d --nofailover=false")
	s.run("members set d")
	s.run("members remove d")
	f.on("GET /cluster/raft", raftWith("d", "voter"), raftWith("d", ""))
	s.run("members remove d --yes --wait")
	s.run("members remove a --yes")
	s.run("members promote d --wait --timeout 400ms")
	s.run("members promote d --timeout 0s")

	f.on("POST /cluster/maintenance", api.MaintenanceSet{Index: 82, On: true}, api.MaintenanceSet{Index: 83}, api.MaintenanceSet{Index: 84, On: true, Member: "d"}, api.MaintenanceSet{Index: 85, Member: "d"})
	s.run("maintenance on")
	s.run("maintenance off")
	s.run("maintenance on --member d")
	s.run("maintenance off --member d")
	s.run("maintenance perhaps")
	f.on("POST /cluster/leader/transfer", api.LeaderMoved{Leader: "b", Term: 4})
	s.run("leader transfer")
	s.run("leader transfer --to b --output yaml")

	config := api.ClusterConfig{Cluster: "demo", ChainID: "abcd", Producers: []string{"alice", "bob"}, Slots: 6}
	f.on("GET /cluster/config", config)
	f.on("PATCH /cluster/config", api.ConfigSet{Index: 86, Config: config})
	s.run("config get")
	s.run("config get slots")
	s.run("config get producers --output json")
	s.run("config get slotz")
	s.run("config set slots=6 producers=alice,bob")
	s.run("config set slots=many")
	s.run("config set slots")
	s.run("config set maintenance=on")
	s.run("config set cluster=x")
	s.run("config set slots=6 slots=7")

	canceled := exampleOperation()
	canceled.Outcome = fsm.Canceled
	f.on("DELETE /cluster/operations/123", canceled)
	f.answer("DELETE /cluster/operations/124", http.StatusConflict, `{"error":{"code":"operation.late","message":"operation 124 is at \"stop\"","hint":"it ends by itself"}}`)
	s.run("operations cancel 123")
	s.run("operation cancel 124")

	stopping := exampleUpgrade()[2].(api.Operation)
	stopping.Canceling, stopping.Message = true, "switch b (1 of 3); it stops after that, canceled"
	f.answer("DELETE /cluster/operations/70", http.StatusAccepted, stopping)
	s.run("operations cancel 70")
	stopping.Reason = "the holder, a, is not fit: its head is 9 slots behind"
	f.answer("DELETE /cluster/operations/70", http.StatusAccepted, stopping)
	s.run("operations cancel 70")

	f.answer("POST /cluster/restart", http.StatusAccepted, api.Started{Operation: "130"})
	f.answer("POST /cluster/upgrade", http.StatusAccepted, api.Started{Operation: "131"})
	f.answer("POST /cluster/rollout", http.StatusConflict, `{"error":{"code":"rollout.refused","message":"the rollout is not begun: no member has a configuration that it does not run","hint":"change one first"}}`)
	s.run("restart --member d")
	s.run("restart d --limit 5m --queue 1h")
	s.run("restart --rolling --output json")
	s.run("restart")
	s.run("restart d --rolling")
	s.run("restart d --member e")
	s.run("restart d --limit soon")
	s.run("rollout")
	s.run("rollout --limit 5m --queue 30m")
	s.run("upgrade v1.2.3")
	s.run("upgrade v1.2.3 --yes")
	s.run("upgrade v1.2.3 --yes --at-block 412345678 --hard-fork --members a,b --limit 20m --queue 2d")
	s.run("upgrade v1.2.3 -y --row eosio//global//flag=a/b=c --undo all --snapshot --sha256 ab12")
	s.run("upgrade v1.2.3 -y --feature BLS_PRIMITIVES2")
	s.run("upgrade v1.2.3 -y --row eosio/global=1")
	s.run("upgrade")

	pending := config
	pending.Overlay, pending.Pending, pending.TakeOver, pending.Waiting = "max-clients = 9\n# two\n", true, true, []string{"a", "b"}
	file := filepath.Join(t.TempDir(), "overlay.ini")
	if err := os.WriteFile(file, []byte("max-clients = 9\r\n# two\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.on("PATCH /cluster/config", api.ConfigSet{Index: 87, Config: pending})
	f.on("GET /cluster/config", pending)
	s.run("config set --overlay " + file)
	s.run("config set --take-over=false slots=6")
	s.run("config set --overlay /nowhere/overlay.ini")
	s.run("config set")
	s.run("config set take_over=true")
	s.run("config get")
	s.run("config get overlay")

	f.on("GET /cluster/tokens", []api.Token{
		{ID: "k1", Name: "alice", Role: "admin", Created: "2026-11-20T12:00:00.000Z", Actor: "local:0"}, {ID: "k2", Name: "ops", Role: "operate", Created: "2026-11-21T11:00:00.000Z", Expires: "2026-12-21T11:00:00.000Z", Actor: "token:alice"},
		{ID: "k3", Name: "ops", Role: "read", Created: "2026-10-21T11:00:00.000Z", Expires: "2026-11-21T11:00:00.000Z", Actor: "token:alice"},
	})
	f.answer("POST /cluster/tokens", http.StatusCreated, api.NewToken{ID: "k4", Name: "bob", Role: "read", Token: planted, Expires: "2027-02-19T12:00:00.000Z"})
	f.on("DELETE /cluster/tokens/k1", api.Removed{Index: 90, ID: "k1"})
	f.on("DELETE /cluster/tokens/k2", api.Removed{Index: 91, ID: "k2"})
	s.run("token list")
	s.run("tokens list --output json")
	s.run("token create bob --role read --ttl 90d")
	s.run("token create bob --role king")
	s.run("token revoke alice --yes")
	s.run("token revoke k2 --yes")
	s.run("token revoke ops --yes")
	s.run("token revoke nobody --yes")
	s.run("token revoke alice")

	f.on("GET /version", api.Version{Version: "v0.1.0", Go: "go1.26", EntryVersion: 2})
	s.run("version --output json")
	golden(t, "acts", goVersion.ReplaceAllString(strings.ReplaceAll(s.text.String(), file, "FILE"), "GOVERSION"))
	if strings.Count(s.text.String(), "S3cret") != 1 {
		t.Error("the token shows more often than when it is made")
	}
}

var goVersion = regexp.MustCompile(`go1\.\d+(\.\d+)?(-[^"]*)?`)

// TestSecretShownBefore: where one server has the answer with a secret and another one says that it was given, the former counts.
func TestSecretShownBefore(t *testing.T) {
	noLeaks(t)
	slow, quick := newFakeAPI(t), newFakeAPI(t)
	answered := make(chan struct{})
	slow.reply["POST /cluster/tokens"] = func() (int, any) {
		<-answered
		return http.StatusCreated, api.NewToken{ID: "k4", Name: "bob", Role: "read", Token: planted}
	}
	quick.reply["POST /cluster/tokens"] = func() (int, any) {
		defer close(answered)
		return http.StatusConflict, `{"error":{"code":"shown_before","message":"this request was done before","hint":"make another one"}}`
	}
	code, out, errs := command("token", "create", "bob", "--role", "read", "--server", slow.URL+","+quick.URL)
	if code != exitDone || out != planted+"\n" {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}
