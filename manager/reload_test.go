package manager

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"roundtable/cluster/control"
	"roundtable/cmd/roundtable/config"
	"roundtable/durable"
	"roundtable/fsm"
	"roundtable/security"
)

// reloading is a reloader of a real file, with what it did.
type reloading struct {
	*testing.T
	*reloader
	home   string
	text   string // of the file, less what edit changes
	log    bytes.Buffer
	done   []string
	alarms chan string
}

const reloadText = `sandbox = true
[manager]
id = "m1"
priority = 1
[cluster]
name = "t"
producers = ["bp"]
[node]
path = "/bin/true"
args = ["--max-clients", "7"]
stop_timeout = "1m"
`

func newReloading(t *testing.T) *reloading {
	t.Helper()
	r := &reloading{T: t, home: t.TempDir(), text: reloadText, alarms: make(chan string, 8)}
	if err := os.WriteFile(filepath.Join(r.home, "keys"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.edit()
	c, err := config.Load(filepath.Join(r.home, "config.toml"), []string{"ROUNDTABLE_NODE_CRASH_BUDGET=7"}, map[string]string{"node.env": "{ TOKEN = \"5Ksecret\" }"})
	if err != nil {
		t.Fatal(err)
	}
	r.reloader = newReloader(c,
		func(old, now *config.Config) {
			r.done = append(r.done, fmt.Sprintf("live %q", old.Changes(now, config.Live)))
		},
		func(now *config.Config) { r.done = append(r.done, fmt.Sprintf("node %q", now.Node.Args)) },
		func(name, subject, text string) { r.alarms <- name + " " + subject + ": " + text },
		slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})))
	return r
}

// edit writes the file with pairs of texts replaced.
func (r *reloading) edit(pairs ...string) {
	r.Helper()
	if err := durable.Write(filepath.Join(r.home, "config.toml"), []byte(strings.NewReplacer(pairs...).Replace(r.text))); err != nil {
		r.Fatal(err)
	}
}

// TestReload: what each class of keys does, one change after the other.
func TestReload(t *testing.T) {
	r := newReloading(t)
	for _, c := range []struct {
		what    string
		edit    []string
		done    string // what onLive and onNode were called with
		pending string
		log     string
	}{
		{"nothing", nil, "", "", ""},
		{"a live one", []string{"priority = 1", "priority = 2"}, `live ["manager.priority"]`, "", "level=INFO msg=\"configuration changed\" keys=manager.priority\n"},
		{"the same again", []string{"priority = 1", "priority = 2"}, "", "", ""},
		{"what the environment sets", []string{"priority = 1", "priority = 2", "[node]", "[node]\ncrash_budget = 3"}, "", "", ""},
		{"one of the node, and one back", []string{`"7"`, `"8"`}, `live ["manager.priority"]; node ["--max-clients" "8"]`, "",
			"level=INFO msg=\"configuration changed\" keys=manager.priority\nlevel=INFO msg=\"configuration of the node changed\" keys=node.args\n"},
		{"two of the manager", []string{`"7"`, `"8"`, "[node]", "[node]\nhttp = \"127.0.0.1:1234\"\n[lease]\nslots = 5\n[node2]"}, "", "", "refused"},
		{"two of the manager", []string{`"7"`, `"8"`, "[cluster]", "log_format = \"json\"\n[lease]\nslots = 5\n[cluster]"}, "", "manager.log_format lease.slots",
			"level=INFO msg=\"changed configuration waits for this manager's next start\" keys=\"manager.log_format, lease.slots\"\n"},
		{"and again", []string{`"7"`, `"8"`, "[cluster]", "log_format = \"json\"\n[lease]\nslots = 5\n[cluster]"}, "", "manager.log_format lease.slots", ""},
		{"one of them, and a live one", []string{`"7"`, `"8"`, "[cluster]", "nofailover = true\n[lease]\nslots = 5\n[cluster]"}, `live ["manager.nofailover"]`, "lease.slots",
			"level=INFO msg=\"configuration changed\" keys=manager.nofailover\nlevel=INFO msg=\"changed configuration waits for this manager's next start\" keys=lease.slots\n"},
		{"all back", nil, `live ["manager.nofailover"]; node ["--max-clients" "7"]`, "",
			"level=INFO msg=\"configuration changed\" keys=manager.nofailover\nlevel=INFO msg=\"configuration of the node changed\" keys=node.args\n" +
				"level=INFO msg=\"nothing of the configuration waits for this manager's next start any more\"\n"},
		{"live ones that may stand only with one that takes a start", []string{`"--max-clients", "7"`, `"--signature-provider=EOS1=KEY:5Ksecret"`, "[node]", "[node]\nfence = \"pause\"", "priority = 1", "priority = 5"}, "", "node.fence manager.priority node.args",
			"level=INFO msg=\"changed configuration waits for this manager's next start\" keys=\"node.fence, manager.priority, node.args\"\n"},
		{"an address for another one", []string{`stop_timeout = "1m"`, "stop_timeout = \"1m\"\np2p = \"127.0.0.1:9070\"", "[manager]", "[manager]\nraft = \"127.0.0.1:9876\"", "priority = 1", "priority = 5"},
			`live ["manager.priority"]`, "manager.raft node.p2p", "level=INFO msg=\"configuration changed\" keys=manager.priority\nlevel=INFO msg=\"changed configuration waits for this manager's next start\" keys=\"manager.raft, node.p2p\"\n"},
	} {
		r.edit(c.edit...)
		r.done = nil
		r.log.Reset()
		err := r.reload()
		if (err != nil) != (c.log == "refused") {
			t.Errorf("%s: %v", c.what, err)
		}
		if c.log == "refused" {
			continue
		}
		if got := strings.Join(r.done, "; "); got != c.done {
			t.Errorf("%s: did %s, want %s", c.what, got, c.done)
		}
		if got := strings.Join(r.Pending(), " "); got != c.pending {
			t.Errorf("%s: %q wait, want %q", c.what, got, c.pending)
		}
		if got := r.log.String(); got != c.log {
			t.Errorf("%s: logged\n%swant\n%s", c.what, got, c.log)
		}
	}
	if c := r.Current(); c.Manager.Raft != config.Default().Manager.Raft || c.Node.CrashBudget != 7 || c.Manager.Priority != 5 || r.started.Manager.Priority != 1 {
		t.Errorf("in force: %+v", c)
	}
}

// TestReloadMissing: what only operations on backups need keeps no manager from starting and no change from counting. It is told once.
func TestReloadMissing(t *testing.T) {
	r := newReloading(t)
	r.text += "[backup.repositories.main]\nurl = \"file:///x\"\nencryption_key_file = \"backup.key\"\n"
	r.edit()
	c, err := r.started.Again()
	if err != nil {
		t.Fatalf("it does not start: %v", err)
	}
	r.reloader = newReloader(c, r.onLive, r.onNode, r.alarm, r.reloader.log)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.run(ctx); err != nil {
		t.Fatal(err)
	}
	const line = "level=WARN msg=\"operations on backups will not find what the configuration names\""
	if got := r.log.String(); strings.Count(got, line) != 1 || !strings.Contains(got, "backup.repositories.main.encryption_key_file") || !strings.Contains(got, "hint: put the file there") {
		t.Errorf("at the start: %s", got)
	}
	if got := <-r.alarms; !strings.HasPrefix(got, "backup m1: operations on backups will not find what the configuration names: ") {
		t.Error(got)
	}
	r.edit("priority = 1", "priority = 2", "backup.key", "other.key")
	if err := r.reload(); err != nil || r.Current().Manager.Priority != 2 {
		t.Errorf("the change does not count: %v", err)
	}
	if err := r.reload(); err != nil || strings.Count(r.log.String(), line) != 2 {
		t.Errorf("%v: %s", err, r.log.String())
	}
	<-r.alarms
	r.edit("encryption_key_file", "# ")
	if err := r.reload(); err != nil || !strings.Contains(r.log.String(), "level=INFO msg=\"operations on backups find what the configuration names\"") {
		t.Errorf("%v: %s", err, r.log.String())
	}
}

// TestReloadFollowsTheFile, and refuses what may not stand there, once for each thing.
func TestReloadFollowsTheFile(t *testing.T) {
	r := newReloading(t)
	took := make(chan int)
	r.onLive = func(_, now *config.Config) { took <- now.Manager.Priority }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if log := r.log.String(); strings.Contains(log, "secret") || strings.Count(log, "level=ERROR") != 3 || strings.Count(log, "can be used again") != 2 {
			t.Errorf("the log:\n%s", log)
		}
	}()
	want := func(priority int) {
		t.Helper()
		select {
		case got := <-took:
			if got != priority {
				t.Fatalf("priority %d, want %d", got, priority)
			}
		case text := <-r.alarms:
			t.Fatal(text)
		case <-time.After(30 * time.Second):
			t.Fatal("nothing was done")
		}
	}
	alarm := func(words ...string) {
		t.Helper()
		select {
		case got := <-r.alarms:
			for _, w := range append(words, "config m1: refused, the former one stays in force") {
				if !strings.Contains(got, w) {
					t.Errorf("%s: does not say %q", got, w)
				}
			}
		case got := <-took:
			t.Fatalf("priority %d counts", got)
		case <-time.After(30 * time.Second):
			t.Fatal("no alarm")
		}
	}
	file := filepath.Join(r.home, "config.toml")
	r.edit("priority = 1", "priority = 2") // as an editor that renames
	want(2)
	if err := os.WriteFile(file, []byte(strings.Replace(r.text, "priority = 1", "priority = 3", 1)), 0o600); err != nil { // in place
		t.Fatal(err)
	}
	want(3)
	r.edit("priority = 1", "priorty = 4")
	alarm("manager.priorty", "unknown key", "did you mean manager.priority?")
	r.edit("priority = 1", "priority = 4", `"1m"`, `"1ms"`)
	alarm("node.stop_timeout", "must be 1s or more")
	r.edit("priority = 1", "priority = 5")
	want(5)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	alarm("no such file")
	r.edit("priority = 1", "priority = 6")
	want(6)
	if c := r.Current(); c.Manager.Priority != 6 || c.Node.StopTimeout.D() != time.Minute {
		t.Errorf("in force: %+v", c)
	}
}

// TestRunningManagerReloads: a whole manager, secured, without a node.
func TestRunningManagerReloads(t *testing.T) {
	home := t.TempDir()
	ca, gossip, err := security.Found(security.InHome(home), "t", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Admit(security.InHome(home), "w1", []string{"bp1.example"}, gossip, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := PermitFounding(home); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("[manager]\nid = \"w1\"\nwitness = true\napi = %q\nraft = %q\ngossip = %q\npriority = 1\nlog_level = \"info\"\n[cluster]\nname = \"t\"\nproducers = [\"bp\"]\n[tls]\nhosts = [\"bp1.example\"]\n",
		freeAddr(t), freeAddr(t), freeAddr(t))
	edit := func(pairs ...string) {
		t.Helper()
		if err := durable.Write(filepath.Join(home, "config.toml"), []byte(strings.NewReplacer(pairs...).Replace(text))); err != nil {
			t.Fatal(err)
		}
	}
	edit()
	c, err := config.Load(filepath.Join(home, "config.toml"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended, level := make(chan Live, 1), make(chan error, 1), new(slog.LevelVar)
	go func() { ended <- Run(ctx, t.Context(), c, Options{Level: level, Ready: func(l Live) { ready <- l }}) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	var live Live
	select {
	case live = <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	until := func(what string, is func(s *fsm.State) bool) {
		t.Helper()
		deadline := time.After(30 * time.Second)
		for {
			s, changed := live.m.cluster.View()
			if is(s) {
				return
			}
			select {
			case <-changed:
			case <-deadline:
				t.Fatalf("it never came: %s", what)
			}
		}
	}
	priority := func(n int) func(s *fsm.State) bool {
		return func(s *fsm.State) bool { m, ok := s.Members["w1"]; return ok && m.Priority == n }
	}
	until("the record", priority(1))
	edit("priority = 1", "priority = 2", `"info"`, `"debug"`, `["bp1.example"]`, `["bp1.example", "lb.example"]`, "[cluster]", "[lease]\nslots = 5\n[cluster]")
	until("another priority", priority(2))
	edit("priority = 1", "priority = 3", `"info"`, `"debug"`, `["bp1.example"]`, `["bp1.example", "lb.example"]`, "[cluster]", "[lease]\nslots = 5\n[cluster]")
	until("and again: what came with the former one is done", priority(3))
	if level.Level() != slog.LevelDebug || !slices.Equal(live.m.reload.Pending(), []string{"lease.slots"}) || live.m.config().Lease.Slots != 4 {
		t.Errorf("log level %s, %q wait", level.Level(), live.m.reload.Pending())
	}
	for deadline := time.Now().Add(30 * time.Second); !slices.Contains(live.m.keeper.Status().Hosts, "lb.example"); {
		if time.Now().After(deadline) {
			t.Fatalf("the certificate is good for %q", live.m.keeper.Status().Hosts)
		}
		<-time.After(10 * time.Millisecond)
	}
	edit("priority = 1", "priority = high")
	until("the alarm", func(s *fsm.State) bool {
		return slices.ContainsFunc(s.History, func(e fsm.Event) bool {
			return e.Kind == "alarm.config" && e.Subject == "w1" && strings.Contains(e.Text, "config.toml")
		})
	})
}

// TestRunningManagerOffersWhatIsForTheNode: from the file to what the controllers see, with a real node.
func TestRunningManagerOffersWhatIsForTheNode(t *testing.T) {
	r := newRig(t)
	home := r.cfg.Manager.Home
	text := fmt.Sprintf("sandbox = true\n[manager]\nid = \"m1\"\napi = %q\nraft = %q\ngossip = %q\n[cluster]\nname = \"t\"\nproducers = [\"bp\"]\n"+
		"[node]\npath = %q\nhttp = %q\np2p = %q\nargs = [%q, %q, %q, %q]\nconfig_template = \"nodeos.ini\"\nstop_timeout = \"1m\"\n[upgrade]\nrollout = \"manual\"\n",
		freeAddr(t), freeAddr(t), freeAddr(t), r.bin, r.cfg.Node.HTTP, r.cfg.Node.P2P, r.cfg.Node.Args[0], r.cfg.Node.Args[1], r.cfg.Node.Args[2], r.cfg.Node.Args[3])
	edit := func(pairs ...string) { r.write("config.toml", strings.NewReplacer(pairs...).Replace(text)) }
	edit()
	if err := PermitFounding(home); err != nil {
		t.Fatal(err)
	}
	c := must[*config.Config](t)(config.Load(filepath.Join(home, "config.toml"), nil, nil))
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan Live, 1), make(chan error, 1)
	go func() {
		ended <- Run(ctx, t.Context(), c, Options{Log: r.logger(), Ready: func(l Live) { ready <- l }})
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	var live Live
	select {
	case live = <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	h, before := live.m.local.home, live.StopBound()
	if v := h.View(); v.Offers != "" || v.Auto || v.Tag != "genesis" || v.Limit != 10*time.Minute {
		t.Fatalf("%+v", v)
	}
	edit(`stop_timeout = "1m"`, "stop_timeout = \"3m\"\npeers = [\"10.0.0.1:9876\"]", `"manual"`, "\"manual\"\nstep_timeout = \"7m\"")
	v := await(t, h, "an offer", func(v control.HomeView) bool { return v.Offers != "" && v.Limit == 7*time.Minute })
	if conf := must[configuration](t)(h.config(v.Offers)); !slices.Equal(conf.Peers, []string{"10.0.0.1:9876"}) {
		t.Errorf("offered: %+v", conf)
	}
	if got := live.StopBound() - before; got != 2*time.Minute {
		t.Errorf("a stop may take %v longer than before", got)
	}
	edit(`stop_timeout = "1m"`, `stop_timeout = "2m"`)
	await(t, h, "all as it was", func(v control.HomeView) bool { return v.Offers == "" && v.Limit == 10*time.Minute })
	if got := live.StopBound() - before; got != time.Minute || len(live.m.reload.Pending()) > 0 {
		t.Errorf("a stop may take %v longer than at first, %q wait", got, live.m.reload.Pending())
	}
}
