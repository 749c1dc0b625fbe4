package main

import (
	"strings"
	"testing"
	"time"

	"roundtable/api"
)

// TestCompletion: what a shell is offered, by what cobra's scripts call.
func TestCompletion(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	list := exampleMembers()
	list[0].Home, list[1].Home = &api.Home{Tag: "v1.2.2", RunsTag: "genesis"}, &api.Home{RunsTag: "v1.2.2"}
	f.on("GET /cluster/members", list)
	f.on("GET /cluster/operations", []api.Operation{exampleOperation()})
	f.on("GET /cluster/tokens", []api.Token{{ID: "k1", Name: "alice", Role: "admin"}})
	f.on("GET /cluster/backups", []api.Backup{exampleBackup()})
	f.on("GET /cluster/plans", []api.Plan{examplePlan()})
	f.on("GET /cluster", api.Overview{Backups: []api.BackupStanding{{Repository: "default", Kind: "data"}, {Repository: "default", Kind: "snapshot"}, {Repository: "far", Kind: "data"}}})
	backups, plans := exampleID+"\tdata, done, block 412345678\n:4\n", "nightly\tbackup of data in default, cron 30 3 * * *\n:4\n"
	file := configHome(t)
	put(t, file, "current = \"prod\"\n[contexts.prod]\nservers = [\""+f.URL+"\"]\n[contexts.test]\nhome = \"/h\"\n")
	members := "a\tholder\nb\tstandby\nc\tstandby\nw\twitness\n:4\n"
	for args, want := range map[string]string{
		"handoff ":                        members,
		"handoff a ":                      ":4\n",
		"handoff --to ":                   members,
		"members remove ":                 members,
		"restart ":                        members,
		"restart --member ":               members,
		"upgrade ":                        "genesis\nv1.2.2\n:4\n",
		"upgrade v1 --undo ":              "member\nall\n:4\n",
		"upgrade v1 --members ":           members,
		"members set ":                    members,
		"maintenance on --member ":        members,
		"maintenance o":                   "on\noff\n:4\n",
		"leader transfer --to ":           members,
		"operations cancel ":              "123\thandoff a -> b (safe), running\n:4\n",
		"token revoke ":                   "k1\talice, admin\n:4\n",
		"token create x --role ":          "read\noperate\nadmin\n:4\n",
		"backup show ":                    backups,
		"backup verify ":                  backups,
		"backup restore ":                 backups,
		"backup restore x --member ":      members,
		"backup rm a ":                    backups,
		"backup pin ":                     backups,
		"backup create --kind ":           "data\nsnapshot\n:4\n",
		"backup create --repository ":     "default\nfar\n:4\n",
		"backup list --state ":            "running\ndone\ndamaged\nfailed\nexpired\n:4\n",
		"plan show ":                      plans,
		"plan run ":                       plans,
		"plan disable ":                   plans,
		"plan add x --action ":            "backup\nverify\nsweep\n:4\n",
		"status --output ":                "table\njson\nyaml\n:4\n",
		"status --context ":               "prod\ntest\n:4\n",
		"context use ":                    "prod\ntest\n:4\n",
		"config get s":                    "slots\n:4\n",
		"handoff --context test --to ":    ":4\n", // nobody there
		"handoff --context nowhere ":      ":4\n",
		"handoff --server 127.0.0.1:1 ":   ":4\n",
		"members promote --token x\x00y ": ":4\n",
	} {
		fields := strings.Split(args, " ")
		code, out, _ := command(append([]string{"__complete"}, fields...)...)
		if code != exitDone || out != want {
			t.Errorf("%q: exit %d: %q, want %q", args, code, out, want)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, out, errs := command("completion", shell); code != exitDone || !strings.Contains(out, "__complete") {
			t.Errorf("%s: exit %d: %s", shell, code, errs)
		}
	}
}

// TestCompletionIsQuick: who presses TAB does not wait for a cluster that does not answer.
func TestCompletionIsQuick(t *testing.T) {
	noLeaks(t)
	configHome(t)
	begun := time.Now()
	code, out, _ := command("__complete", "handoff", "--server", frozen(t), "")
	if took := time.Since(begun); code != exitDone || out != ":4\n" || took > 2*completionTime {
		t.Errorf("exit %d after %s: %q", code, took, out)
	}
}
