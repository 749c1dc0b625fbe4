package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/test/stranger"
)

// undrilled are the alerts that no drill can cause, and why; TestAlertRules covers them.
var undrilled = map[string]string{
	"StateDatabaseFull":  "simnodeos has no state",
	"CertificateExpires": "certificates last for months",
	"OperationFailed":    "the members here have one version and one configuration",
	"OperationLong":      "it takes an hour",
	"VersionsDiffer":     "the same nodeos everywhere",
	"ConfigurationWaits": "nothing is changed here",
	"VerifyOld":          "it takes two weeks",
	"PlanMissed":         "it takes an hour",
}

// The alerts that each drill causes; whatever else fires in it is a fault, but for what the drill itself allows.
var (
	nuisances = []string{"GateRefusals", "GateSlow", "MaintenanceForgotten", "LeaseFlapping", "LeaderFlapping", "UnknownNodeosLines", "APIRefusals", "BackupFailed", "BackupDamaged", "BackupOld"}
	oneDown   = []string{"ManagerCrashLoop", "ScrapeDown", "MemberDown", "NoQuorumMargin"}
	noStandby = []string{"NoFitStandby"}
	twoDown   = []string{"NoLeader", "NobodySigns"}
	twoBack   = []string{"SlotsMissed"}
	nodeOff   = []string{"NodeCrashLoop", "NodeDown"}
	nodeStuck = []string{"NodeBehind"}
	clockOff  = []string{"ClockOff"}
	diskOff   = []string{"DiskStall"}
	keyStolen = []string{"DoubleSigned", "GateSealed"}
)

// TestEveryAlertHasItsDrill holds the lists above to the deployed rules.
func TestEveryAlertHasItsDrill(t *testing.T) {
	drilled := slices.Concat(nuisances, oneDown, noStandby, twoDown, twoBack, nodeOff, nodeStuck, clockOff, diskOff, keyStolen)
	known := map[string]bool{}
	for _, a := range alerts(t) {
		known[a.Alert] = true
		if !slices.Contains(drilled, a.Alert) && undrilled[a.Alert] == "" {
			t.Errorf("no drill causes %s", a.Alert)
		}
	}
	for _, name := range drilled {
		if !known[name] || undrilled[name] != "" {
			t.Errorf("%s is drilled, and is no such alert", name)
		}
	}
}

// TestHealthyAndNuisances: in a healthy cluster every panel of the dashboard shows something and no alert fires. Then comes
// all at once what hurts nobody yet, and each has its alert.
func TestHealthyAndNuisances(t *testing.T) {
	short(t)
	t.Parallel()
	tool(t, "prometheus")
	b := start(t, drill.Options{Keosd: true, Secure: true}) // as an operator has it
	b.handoff()                                             // so that there is an operation to show
	backup := b.backedUp()
	p := b.watch(t)
	until(t, 30*time.Second, "a while of scrapes", func(ctx context.Context) error {
		if _, err := b.Overview(ctx); err != nil { // somebody asks the API now and then
			return err
		}
		got, err := p.query(ctx, `min(count_over_time(up[1h])) > 15`)
		if err == nil && len(got) == 0 {
			err = errors.New("not yet")
		}
		return err
	})
	p.showsEverything(t)
	p.onlyFired(t)
	b.lintMetrics(t)

	holder, standby := b.holder(), b.bystander()
	for _, m := range b.Members {
		if err := b.SlowSigner(m, 120*time.Millisecond); err != nil { // nodeos waits for longer
			t.Fatal(err)
		}
	}
	b.change(holder, http.MethodPost, "/cluster/maintenance", `{"on":true}`)
	b.spoil(backup)
	for range 15 {
		knock(t, standby)
		babble(t, standby)
	}
	for range 30 {
		if status, _, err := ask(t.Context(), standby, http.MethodPost, "/cluster/handoff", `{}`, "Sec-Fetch-Site", "cross-site"); err != nil || status != http.StatusForbidden && status != http.StatusTooManyRequests {
			t.Fatalf("a request out of another site's page: %d, %v", status, err)
		}
	}
	for range 8 {
		b.handoff()
	}
	for range 5 {
		b.change(holder, http.MethodPost, "/cluster/leader/transfer", `{}`)
	}
	p.fires(t, 40*time.Second, nuisances...)
	p.onlyFired(t, nuisances...)
}

// backedUp has a backup made and verified, and plans one; it returns the backup's id.
func (b *box) backedUp() (id string) {
	b.t.Helper()
	m := b.holder()
	b.change(m, http.MethodPost, "/cluster/plans", `{"id":"hourly","kind":"data","every":"1h"}`)
	b.change(m, http.MethodPost, "/cluster/backup?wait=25s", `{"kind":"data"}`)
	var list []api.Backup
	until(b.t, time.Minute, "a backup", func(ctx context.Context) error {
		_, text, err := ask(ctx, m, http.MethodGet, "/cluster/backups?state=done", "")
		if err == nil {
			err = json.Unmarshal(text, &list)
		}
		if err == nil && len(list) != 1 {
			err = fmt.Errorf("there are %d", len(list))
		}
		return err
	})
	b.change(m, http.MethodPost, "/cluster/backups/"+list[0].ID+"/verify?wait=25s", `{}`)
	return list[0].ID
}

// spoil changes a bit of a backup in its repository, and lets the cluster find that: then there is no good one.
func (b *box) spoil(backup string) {
	b.t.Helper()
	files, err := filepath.Glob(filepath.Join(b.Repository(), "packs", backup, "*"))
	if err != nil || len(files) == 0 {
		b.t.Fatalf("no packs of %s: %v", backup, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		b.t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := errors.Join(os.Chmod(files[0], 0o600), os.WriteFile(files[0], text, 0o600)); err != nil {
		b.t.Fatal(err)
	}
	b.change(b.holder(), http.MethodPost, "/cluster/backups/"+backup+"/verify", `{}`)
}

// knock asks a member's gate for what nodeos never asks for.
func knock(t *testing.T, m *drill.Member) {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "unix", filepath.Join(m.Home, "gate.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 12)
	if _, err := c.Read(answer); err != nil || !strings.HasSuffix(string(answer), " 500") {
		t.Fatalf("the gate answered %q, %v", answer, err)
	}
}

// babble lets a stranger put lines into a node's log that are in no format, as one of a new nodeos would be. They follow a
// line that takes none after it.
func babble(t *testing.T, m *drill.Member) {
	t.Helper()
	at := time.Now().UTC().Format("2006-01-02T15:04:05.000")
	line := "\ninfo  " + at + " nodeos    main.cpp:1                    main                 ] a line"
	if err := stranger.Attack(t.Context(), m, line+"\nanother kind of line\nand one more\n"); err != nil {
		t.Fatal(err)
	}
}

// TestMembersDown ends a standby's manager again and again, then for good, then the holder too, and brings both back.
func TestMembersDown(t *testing.T) {
	short(t)
	t.Parallel()
	tool(t, "prometheus")
	b := start(t, drill.Options{})
	p := b.watch(t)
	holder, standby := b.holder(), b.bystander()
	began := p.began(t, standby, 0)
	for range 3 {
		if err := b.KillMember(t.Context(), standby); err != nil {
			t.Fatal(err)
		}
		if err := b.StartMember(standby); err != nil {
			t.Fatal(err)
		}
		began = p.began(t, standby, began)
	}
	if err := b.KillMember(t.Context(), standby); err != nil {
		t.Fatal(err)
	}
	p.fires(t, 20*time.Second, oneDown...)
	p.onlyFired(t, oneDown...)

	i := slices.IndexFunc(b.Members, func(m *drill.Member) bool { return m != standby && m != holder })
	last := b.Members[i]
	b.change(last, http.MethodPatch, "/cluster/members/"+last.ID, `{"nofailover":true}`)
	p.fires(t, 20*time.Second, noStandby...)
	b.change(last, http.MethodPatch, "/cluster/members/"+last.ID, `{"nofailover":false}`)

	if err := b.KillMember(t.Context(), holder); err != nil {
		t.Fatal(err)
	}
	p.fires(t, 30*time.Second, twoDown...)
	p.onlyFired(t, slices.Concat(oneDown, noStandby, twoDown)...)

	for _, m := range []*drill.Member{standby, holder} {
		if err := b.StartMember(m); err != nil {
			t.Fatal(err)
		}
	}
	b.settle()
	p.fires(t, 60*time.Second, twoBack...)
	p.onlyFired(t, slices.Concat(oneDown, noStandby, twoDown, twoBack)...)
	b.plainText(t)
}

// began is when the member's process was started, once that is another one than before.
func (p *prometheus) began(t *testing.T, m *drill.Member, before float64) (at float64) {
	t.Helper()
	until(t, 20*time.Second, "a new process of "+m.ID+" scraped", func(ctx context.Context) error {
		got, err := p.query(ctx, fmt.Sprintf(`process_start_time_seconds{instance=%q}`, strings.TrimPrefix(m.API, "http://")))
		switch {
		case err != nil:
			return err
		case len(got) != 1 || got[0].value == before:
			return fmt.Errorf("%v, before %v", got, before)
		}
		at = got[0].value
		return nil
	})
	return at
}

// TestMachinesOfOneMember lets node, clock and disk of one member fail, one after the other, and then a stranger sign with
// the stolen key.
func TestMachinesOfOneMember(t *testing.T) {
	short(t)
	t.Parallel()
	tool(t, "prometheus")
	b := start(t, drill.Options{})
	m := b.bystander()
	t.Run("node", func(t *testing.T) {
		p := b.watch(t)
		if err := b.HangNode(t.Context(), m, 9*time.Second); err != nil {
			t.Fatal(err)
		}
		p.fires(t, 30*time.Second, nodeStuck...)
		p.onlyFired(t, nodeStuck...)
		b.settle()
		for range 4 {
			until(t, 20*time.Second, "a node that runs", func(ctx context.Context) error { return b.NodeExit(ctx, m) })
		}
		p.fires(t, 30*time.Second, nodeOff...)
		p.onlyFired(t, slices.Concat(nodeStuck, nodeOff)...)
	})
	b.settle()
	t.Run("clock", func(t *testing.T) {
		p := b.watch(t)
		if err := b.StepClock(m, 2*time.Second); err != nil {
			t.Fatal(err)
		}
		b.again(m)
		p.fires(t, 40*time.Second, clockOff...)
		p.onlyFired(t, append(clockOff, "ScrapeDown", "MemberDown", "NoQuorumMargin", "GateSealed")...) // the step ended the manager
		if err := b.ResetClock(m); err != nil {
			t.Fatal(err)
		}
		b.again(m)
	})
	b.settle()
	t.Run("disk", func(t *testing.T) {
		if m = b.bystander(); m == nil { // a leader whose disk hangs ends itself
			t.Fatal("nobody stands by")
		}
		p := b.watch(t)
		if err := b.StallDisk(m); err != nil {
			t.Fatal(err)
		}
		p.fires(t, 30*time.Second, diskOff...)
		p.onlyFired(t, diskOff...)
		if err := b.UnstallDisk(m); err != nil {
			t.Fatal(err)
		}
	})
	b.settle()
	t.Run("key", func(t *testing.T) {
		p := b.watch(t)
		stranger.Rogue(t, b.Sandbox, filepath.Join(built, "simnodeos"))
		p.fires(t, 40*time.Second, keyStolen...)
		for _, other := range oneDown { // whatever else two signers bring about, nobody is down
			if fired, err := p.fired(t.Context()); err != nil || fired[other] {
				t.Errorf("%s fired: %v", other, err)
			}
		}
	})
}

// again starts a manager once it has ended itself.
func (b *box) again(m *drill.Member) {
	b.t.Helper()
	until(b.t, 20*time.Second, "the end of "+m.ID, func(context.Context) error {
		if m.Running() {
			return errors.New("it runs")
		}
		return nil
	})
	if err := b.StartMember(m); err != nil {
		b.t.Fatal(err)
	}
}

func short(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real processes")
	}
}
