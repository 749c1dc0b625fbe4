package security

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// issue writes a member's files, as init does, with a certificate of so long a life.
func issue(t testing.TB, f Files, ca *CA, member string, life time.Duration, hosts ...string) {
	t.Helper()
	key, request, err := NewRequest(member, hosts)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(f.Key), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.install(key, Issued{Cert: must(ca.Sign(request, member, life, time.Now()))(t), CA: ca.Cert()}); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// keep opens and runs a keeper until the test ends.
func keep(t testing.TB, cfg Config) *Keeper {
	t.Helper()
	k := must(Open(cfg))(t)
	run(t, k)
	return k
}

func run(t testing.TB, k *Keeper) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// eventually waits for what another goroutine does.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); {
		if time.Now().After(end) {
			t.Fatal("it never came: " + what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// echo serves streams that answer line by line, until the test ends.
func echo(t testing.TB, conf *tls.Config) (address string) {
	t.Helper()
	l := must(tls.Listen("tcp", "127.0.0.1:0", conf))(t)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for s := bufio.NewScanner(c); s.Scan(); {
					fmt.Fprintln(c, s.Text())
				}
			}()
		}
	}()
	return l.Addr().String()
}

// stream is a connection with somebody who echoes.
type stream struct {
	*tls.Conn
	lines *bufio.Scanner
}

func dial(t testing.TB, address string, conf *tls.Config) (*stream, error) {
	t.Helper()
	c, err := (&tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: conf}).Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { c.Close() })
	s := &stream{c.(*tls.Conn), bufio.NewScanner(c)}
	return s, s.talk("hello")
}

// talk sends a line and waits for it to come back. Only then the other side has accepted our certificate.
func (s *stream) talk(line string) error {
	_ = s.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fprintln(s, line); err != nil {
		return err
	}
	if !s.lines.Scan() {
		return fmt.Errorf("no answer: %w", s.lines.Err())
	}
	if s.lines.Text() != line {
		return fmt.Errorf("the answer is %q", s.lines.Text())
	}
	return nil
}

func (s *stream) serial() string {
	return s.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// TestReloadInterruptsNothing: certificates are replaced under streams that go on; new ones have the new certificate.
func TestReloadInterruptsNothing(t *testing.T) {
	ca := must(NewCA("t", time.Now()))(t)
	f1, f2 := InHome(t.TempDir()), InHome(t.TempDir())
	issue(t, f1, ca, "m1", MemberLife)
	issue(t, f2, ca, "m2", MemberLife)
	k1, k2 := keep(t, Config{Files: f1, Member: "m1"}), keep(t, Config{Files: f2, Member: "m2"})
	address := echo(t, k1.Server())
	old := must(dial(t, address, k2.Client("m1")))(t)
	for _, f := range []struct {
		Files
		k      *Keeper
		member string
	}{{f1, k1, "m1"}, {f2, k2, "m2"}} {
		before := f.k.Status().Serial
		issue(t, f.Files, ca, f.member, MemberLife)
		eventually(t, "the new certificate of "+f.member, func() bool { return f.k.Status().Serial != before })
		if err := old.talk("still there"); err != nil {
			t.Errorf("the stream that was open: %v", err)
		}
	}
	young := must(dial(t, address, k2.Client("m1")))(t)
	if old.serial() == young.serial() {
		t.Error("a new stream has the old certificate")
	}
	if err := old.talk("still there"); err != nil {
		t.Error(err)
	}
	if p := k1.Status().Problem; p != "" {
		t.Error(p)
	}
}

// TestLinkThatTurns: Kubernetes replaces files by turning a link to their folder.
func TestLinkThatTurns(t *testing.T) {
	ca := must(NewCA("t", time.Now()))(t)
	dir := t.TempDir()
	at := func(sub string) Files {
		d := filepath.Join(dir, sub)
		return Files{CA: filepath.Join(d, "ca.pem"), Cert: filepath.Join(d, "cert.pem"), Key: filepath.Join(d, "key.pem")}
	}
	issue(t, at("..1"), ca, "m1", MemberLife)
	issue(t, at("..2"), ca, "m1", MemberLife)
	turn := func(to string) {
		t.Helper()
		if err := errors.Join(os.Symlink(to, filepath.Join(dir, "..new")), os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data"))); err != nil {
			t.Fatal(err)
		}
	}
	turn("..1")
	for _, name := range []string{"ca.pem", "cert.pem", "key.pem"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	k := keep(t, Config{Files: at("."), Member: "m1"})
	before := k.Status().Serial
	turn("..2")
	eventually(t, "the other folder's certificate", func() bool { return k.Status().Serial != before })
}

// TestBadFilesReplaceNothing: half a change, somebody else's certificate, an expired one and rubbish are not used.
func TestBadFilesReplaceNothing(t *testing.T) {
	ca, foreign := must(NewCA("t", time.Now()))(t), must(NewCA("t", time.Now()))(t)
	f := InHome(t.TempDir())
	issue(t, f, ca, "m1", MemberLife)
	k := must(Open(Config{Files: f, Member: "m1"}))(t)
	want := k.Status().Serial
	for name, change := range map[string]func(){
		"half of a pair": func() {
			other := InHome(t.TempDir())
			issue(t, other, ca, "m1", MemberLife)
			copyFile(t, other.Key, f.Key)
		},
		"another member's": func() { issue(t, f, ca, "m2", MemberLife) },
		"expired":          func() { issue(t, f, ca, "m1", -time.Second) },
		"of another CA": func() {
			issue(t, f, foreign, "m1", MemberLife)
			write(t, f.CA, ca.Cert())
		},
		"rubbish": func() { write(t, f.Cert, []byte("x")) },
		"no CA":   func() { write(t, f.CA, nil) },
	} {
		change()
		if err := k.Reload(); err == nil {
			t.Errorf("%s: no error", name)
		}
		if got := k.Status().Serial; got != want {
			t.Fatalf("%s is used", name)
		}
		if _, err := Open(Config{Files: f, Member: "m1"}); (err == nil) != (name == "expired") {
			t.Errorf("%s at the start: %v", name, err)
		}
		issue(t, f, ca, "m1", MemberLife)
		if err := k.Reload(); err != nil {
			t.Fatalf("after %s: %v", name, err)
		}
		want = k.Status().Serial
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	write(t, to, must(os.ReadFile(from))(t))
}

// TestInterruptedInstall: a crash between the writes of certificate and key leaves a pair that works.
func TestInterruptedInstall(t *testing.T) {
	ca := must(NewCA("t", time.Now()))(t)
	f, young := InHome(t.TempDir()), InHome(t.TempDir())
	issue(t, f, ca, "m1", MemberLife)
	issue(t, young, ca, "m1", MemberLife)
	before := must(Open(Config{Files: f, Member: "m1"}))(t).Status().Serial
	copyFile(t, young.Key, f.next())
	if k := must(Open(Config{Files: f, Member: "m1"}))(t); k.Status().Serial != before {
		t.Error("a key that waits alone changed something")
	}
	copyFile(t, young.Cert, f.Cert)
	want := must(Open(Config{Files: young, Member: "m1"}))(t).Status().Serial
	for range 2 { // the second time the key is in its place
		if k := must(Open(Config{Files: f, Member: "m1"}))(t); k.Status().Serial != want {
			t.Error("not the new certificate")
		}
	}
	if _, err := os.Stat(f.next()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the waiting key is left: %v", err)
	}
}

// TestWhoIsRefused: by raft's side and by the API's, counted by reason.
func TestWhoIsRefused(t *testing.T) {
	ca, foreign := must(NewCA("t", time.Now()))(t), must(NewCA("t", time.Now()))(t)
	open := func(ca *CA, member string, life time.Duration) *Keeper {
		f := InHome(t.TempDir())
		issue(t, f, ca, member, life)
		return must(Open(Config{Files: f, Member: member}))(t)
	}
	k := open(ca, "m1", MemberLife)
	var mu sync.Mutex
	refused := map[string]int{}
	count := func(at string) func(string) {
		return func(reason string) {
			mu.Lock()
			defer mu.Unlock()
			refused[at+" "+reason]++
		}
	}
	raft, api := echo(t, k.server(true, count("raft"))), echo(t, k.API(count("api")))
	// trusts us, whatever it shows itself
	as := func(o *Keeper) *tls.Config {
		c := k.Client("m1")
		c.GetClientCertificate = nil
		if o != nil {
			c.GetClientCertificate = o.Client("").GetClientCertificate
		}
		return c
	}
	want := map[string]int{}
	for name, tc := range map[string]struct {
		who       *Keeper
		raft, api string // the reason it is refused for
	}{
		"a member": {open(ca, "m2", MemberLife), "", ""},
		"nobody":   {nil, ReasonNone, ""},
		"foreign":  {open(foreign, "m2", MemberLife), ReasonForeign, ReasonForeign},
		"expired":  {open(ca, "m2", -time.Second), ReasonExpired, ReasonExpired},
	} {
		for _, side := range []struct{ at, address, want string }{{"raft", raft, tc.raft}, {"api", api, tc.api}} {
			if _, err := dial(t, side.address, as(tc.who)); (err == nil) != (side.want == "") {
				t.Errorf("%s at the %s: %v", name, side.at, err)
			}
			if side.want != "" {
				want[side.at+" "+side.want]++
			}
		}
	}
	if diff := cmp.Diff(want, refused); diff != "" {
		t.Errorf("counted:\n%s", diff)
	}
	k.Know(func(member string) int64 { // m2 was invited anew, after all that was made
		if member == "m2" {
			return time.Now().Add(2 * backdated).UnixMilli()
		}
		return 0
	})
	for member, ok := range map[string]bool{"m2": false, "m3": true} {
		if _, err := dial(t, echo(t, k.Server()), as(open(ca, member, MemberLife))); (err == nil) != ok {
			t.Errorf("%s after the invite of another m2: %v", member, err)
		}
	}
	if n := k.Refused()[ReasonPredecessor]; n != 1 {
		t.Errorf("%d predecessors are counted", n)
	}
	if _, err := dial(t, echo(t, k.Server()), as(nil)); err == nil || k.Refused()[ReasonNone] != 1 {
		t.Errorf("raft's own count: %v, %v", k.Refused(), err)
	}
	conf := &tls.Config{Certificates: []tls.Certificate{open(ca, "m2", MemberLife).loaded.Load().pair}}
	if _, err := dial(t, echo(t, conf), k.Client("m2")); err == nil {
		t.Error("as a client, a predecessor is taken for the member")
	}
	k.Know(func(string) int64 { return 0 })
	for name, tc := range map[string]struct {
		server *Keeper
		member string
		ok     bool
	}{
		"the one that was meant": {open(ca, "m2", MemberLife), "m2", true},
		"whoever it is":          {open(ca, "m2", MemberLife), "", true},
		"another one":            {open(ca, "m2", MemberLife), "m3", false},
		"of another cluster":     {open(foreign, "m2", MemberLife), "m2", false},
		"an expired one":         {open(ca, "m2", -time.Second), "m2", false},
	} {
		// a server that takes anybody, so that it is the client who refuses
		conf := &tls.Config{Certificates: []tls.Certificate{tc.server.loaded.Load().pair}}
		if _, err := dial(t, echo(t, conf), k.Client(tc.member)); (err == nil) != tc.ok {
			t.Errorf("as a client, %s: %v", name, err)
		}
	}
}

// TestIntroduction: somebody who joins knows the cluster by its CA's fingerprint alone.
func TestIntroduction(t *testing.T) {
	ca, foreign := must(NewCA("t", time.Now()))(t), must(NewCA("t", time.Now()))(t)
	f := InHome(t.TempDir())
	issue(t, f, ca, "m1", MemberLife)
	k := must(Open(Config{Files: f, Member: "m1"}))(t)
	address := echo(t, k.API(func(string) {}))
	if _, err := dial(t, address, Introduction(k.CAs(), time.Now)); err != nil {
		t.Error(err)
	}
	for name, cas := range map[string][]string{"another CA": {Fingerprint(foreign.cert)}, "none": nil, "a certificate that is no CA": {Fingerprint(k.loaded.Load().leaf())}} {
		if _, err := dial(t, address, Introduction(cas, time.Now)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// somebody who shows the right CA's certificate behind one of his own
	f2 := InHome(t.TempDir())
	issue(t, f2, foreign, "m1", MemberLife)
	chain := append(must(os.ReadFile(f2.Cert))(t), ca.Cert()...)
	pair := must(tls.X509KeyPair(chain, must(os.ReadFile(f2.Key))(t)))(t)
	if _, err := dial(t, echo(t, &tls.Config{Certificates: []tls.Certificate{pair}}), Introduction(k.CAs(), time.Now)); err == nil || !strings.Contains(err.Error(), "join string") {
		t.Errorf("an impostor: %v", err)
	}
}
