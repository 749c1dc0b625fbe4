package backup

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/fsm"
	"roundtable/test/binaries"
	"roundtable/test/box"
)

// built is the folder of the programs under test.
var built string

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "5"); err != nil { // they mostly wait
		panic(err)
	}
	os.Exit(binaries.Main(m, &built, "cmd/roundtable", "cmd/simnodeos"))
}

// endTime is how soon after the return of what was killed an operation has ended.
const endTime = 90 * time.Second

// limit is what a step may take.
const limit = "60s"

// kinds of backups.
var kinds = []string{fsm.CopiesSnapshot, fsm.CopiesData}

// sandbox is a sandbox of real processes with a repository.
type sandbox struct {
	*box.Box
	depot *depot
}

// layOut makes a sandbox that was not started, with its repository in d.
func layOut(t *testing.T, o drill.Options, d *depot) *sandbox {
	t.Helper()
	b := &sandbox{box.New(t, built, o), d}
	b.Argue(func(*drill.Member) []string { return []string{"--sim-block-bytes", "100000", "--sim-state-mb", "4"} }) // 200 KB of blocks.log a second
	b.repository("default", d.section())
	return b
}

// up starts the sandbox and waits until production runs.
func (b *sandbox) up() *sandbox {
	b.T.Helper()
	b.Up()
	return b
}

// in is the sandbox for a test within the test.
func (b *sandbox) in(t *testing.T) *sandbox { return &sandbox{b.In(t), b.depot} }

var section = regexp.MustCompile(`(?s)\[backup\.repositories\.default\]\n.*?\n\n`)

// repository says where the members' repository of a name is: lines of its section of config.toml.
func (b *sandbox) repository(name, lines string) {
	b.T.Helper()
	for _, m := range b.Members {
		file := filepath.Join(m.Home, "config.toml")
		text := box.Read(b.T, file)
		said := fmt.Sprintf("[backup.repositories.%s]\n%s\n", name, lines)
		if name == "default" { // the sandbox has one of its own
			if !section.MatchString(text) {
				b.T.Fatalf("%s has no repository", file)
			}
			text = section.ReplaceAllLiteralString(text, said)
		} else {
			text += "\n" + said
		}
		box.Write(b.T, file, text)
	}
}

// backup has a backup made, to a good end.
func (b *sandbox) backup(kind string, more box.Fields) api.Backup {
	b.T.Helper()
	return b.record(b.Done("/cluster/backup", with(box.Fields{"kind": kind, "limit": limit}, more), endTime).Backup)
}

// restore has a backup restored to a member, to a good end.
func (b *sandbox) restore(id, member string) api.Operation {
	b.T.Helper()
	if err := b.Remember(b.T.Context()); err != nil {
		b.T.Fatal(err)
	}
	return b.Done("/cluster/backups/"+id+"/restore", box.Fields{"member": member, "limit": limit, "queue": "1m"}, endTime)
}

// verify has all of a backup read, to a good end.
func (b *sandbox) verify(id string, more box.Fields) api.Operation {
	b.T.Helper()
	return b.Done("/cluster/backups/"+id+"/verify", with(box.Fields{"limit": limit}, more), endTime)
}

// sweep has the repository swept, to a good end.
func (b *sandbox) sweep() api.Operation {
	b.T.Helper()
	return b.Done("/cluster/backups/sweep", box.Fields{"limit": limit, "queue": "1m"}, endTime)
}

// record is a backup as the catalogue has it.
func (b *sandbox) record(id string) (r api.Backup) {
	b.T.Helper()
	b.Send(http.MethodGet, "/cluster/backups/"+id, nil, http.StatusOK, &r)
	return r
}

// catalogue are the backups in a state, newest first; "" is any.
func (b *sandbox) catalogue(state fsm.BackupState) (list []api.Backup) {
	b.T.Helper()
	path := "/cluster/backups"
	if state != "" {
		path += "?state=" + string(state)
	}
	b.Send(http.MethodGet, path, nil, http.StatusOK, &list)
	return list
}

// standby is a member that does not hold, and is none of these.
func (b *sandbox) standby(but ...string) *drill.Member {
	b.T.Helper()
	return b.Other(append(but, b.View().Holder())...)
}

// known fails the test unless all members know of a backup that it is done.
func (b *sandbox) known(id string) {
	b.T.Helper()
	for _, m := range b.Members {
		b.Eventually(10*time.Second, "that "+m.ID+" knows of "+id, func(ctx context.Context) error {
			status, text, err := b.Ask(ctx, m, http.MethodGet, "/cluster/backups/"+id, nil)
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("%d %s", status, text)
			}
			return err
		})
	}
}

func with(body, more box.Fields) box.Fields {
	for k, v := range more {
		body[k] = v
	}
	return body
}
