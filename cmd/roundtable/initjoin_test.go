package main

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/cmd/roundtable/config"
	"roundtable/security"
)

// door is a member that lets others in.
type door struct {
	*httptest.Server
	keeper *security.Keeper
	join   security.Join
	asked  []api.JoinRequest
	answer func(api.JoinRequest) (int, any)
}

// newDoor opens it for d.
func newDoor(t *testing.T) *door {
	t.Helper()
	files := security.InHome(t.TempDir())
	clock := func() time.Time { return testNow }
	ca, gossip, err := security.Found(files, "prod", testNow)
	if err == nil {
		err = ca.Admit(files, "m1", nil, gossip, testNow)
	}
	if err != nil {
		t.Fatal(err)
	}
	d := &door{}
	if d.keeper, err = security.Open(security.Config{Files: files, Member: "m1", Now: clock}); err != nil {
		t.Fatal(err)
	}
	d.answer = func(r api.JoinRequest) (int, any) {
		issued, err := d.keeper.Sign([]byte(r.CSR), r.ID)
		if err != nil {
			t.Error(err)
		}
		return http.StatusOK, api.Joined{ID: r.ID, Cluster: "prod", Producers: []string{"bp"}, Certificate: string(issued.Cert), CA: string(issued.CA), GossipKey: string(gossip), Join: []string{"h1:9060"}, P2P: []string{"h1:9876"}}
	}
	d.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body api.JoinRequest
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.URL.Path != "/cluster/join" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		d.asked = append(d.asked, body)
		status, answer := d.answer(body)
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer)
	}))
	d.TLS = d.keeper.API(func(string) {})
	d.StartTLS()
	t.Cleanup(d.Close)
	invite, _, _ := security.NewInvite()
	d.join = security.Join{Member: "m4", APIs: []string{d.URL}, CAs: d.keeper.CAs(), Invite: invite}
	return d
}

// TestInitJoin: a member's home from an invite, with the string kept out of the command line.
func TestInitJoin(t *testing.T) {
	d := newDoor(t)
	d.join.APIs = []string{"https://127.0.0.1:1", d.URL} // the first one does not answer
	home := filepath.Join(t.TempDir(), "m4")
	args := []string{"init", "--home", home, "--join", "-", "--advertise", "bp4.example.org", "--nodeos", "/bin/true"}
	code, out, errs := commandWith(d.join.Text()+"\n", args...)
	if code != exitDone {
		t.Fatalf("exit %d: %s", code, errs)
	}
	plant(t, filepath.Join(home, "keys"), producerKey)
	c, err := config.Load(filepath.Join(home, "config.toml"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Manager.ID != "m4" || c.Cluster.Name != "prod" || !slices.Equal(c.Manager.Join, []string{"h1:9060"}) || !slices.Equal(c.Node.Peers, []string{"h1:9876"}) || c.APIURL() != "https://bp4.example.org:9080" {
		t.Errorf("%+v", c)
	}
	if _, err := security.Open(security.Config{Files: security.InHome(home), Member: "m4", Now: func() time.Time { return testNow }}); err != nil {
		t.Error(err)
	}
	files := tree(t, home)
	if len(files) != 8 || strings.Contains(out, d.join.Invite) { // config, keys, four of TLS, the first version and the link to it
		t.Errorf("%d files: %s", len(files), out)
	}
	if code, _, errs := commandWith(d.join.Text(), args...); code != exitFailed || len(d.asked) != 1 {
		t.Errorf("again: exit %d, asked %d times: %s", code, len(d.asked), errs)
	}
}

// TestInitJoinRefused: who is not of the cluster is never shown the invite, and a bad answer is not used.
func TestInitJoinRefused(t *testing.T) {
	foreign := newDoor(t)
	for name, tc := range map[string]struct {
		change func(d *door)
		code   int
		want   string
		asked  int
	}{
		"an impostor": {func(d *door) { d.join.APIs = []string{foreign.URL} }, exitUnreachable, "not of the cluster", 0},
		"used": {func(d *door) {
			d.answer = func(api.JoinRequest) (int, any) {
				return 409, map[string]any{"error": map[string]string{"code": "invite.used", "message": "the invite was used already", "hint": "ask for a new one"}}
			}
		}, exitFailed, "invite.used", 1},
		"no leader": {func(d *door) {
			d.answer = func(api.JoinRequest) (int, any) {
				return 503, map[string]any{"error": map[string]string{"code": "no_leader", "message": "no leader"}}
			}
		}, exitUnreachable, "no_leader", 1},
		"another's certificate": {func(d *door) {
			sign := d.answer
			d.answer = func(r api.JoinRequest) (int, any) { r.ID = "m5"; return sign(r) }
		}, exitFailed, "is of member", 1},
		"a foreign CA's": {func(d *door) {
			d.answer = foreign.answer
		}, exitFailed, "signed by unknown authority", 1},
		"no gossip key": {func(d *door) {
			sign := d.answer
			d.answer = func(r api.JoinRequest) (int, any) {
				status, a := sign(r)
				j := a.(api.Joined)
				j.GossipKey = "x"
				return status, j
			}
		}, exitFailed, "gossip key", 1},
	} {
		d := newDoor(t)
		tc.change(d)
		home := filepath.Join(t.TempDir(), "m4")
		code, out, errs := command("init", "--home", home, "--join", d.join.Text(), "--advertise", "h4", "--witness")
		if code != tc.code || !strings.Contains(errs, tc.want) || strings.Contains(out+errs, d.join.Invite) {
			t.Errorf("%s: exit %d: %s%s", name, code, out, errs)
		}
		if len(d.asked)+len(foreign.asked) != tc.asked {
			t.Errorf("%s: asked %d times, the impostor %d", name, len(d.asked), len(foreign.asked))
		}
		if _, err := os.Stat(filepath.Join(home, "config.toml")); err == nil {
			t.Errorf("%s: it is a home", name)
		}
	}
}

// TestInitJoinInterrupted: the invite is used up, so the answer is kept until the home is complete.
func TestInitJoinInterrupted(t *testing.T) {
	d := newDoor(t)
	whole := filepath.Join(t.TempDir(), "m4")
	args := func(home string) []string {
		return []string{"init", "--home", home, "--join", d.join.Text(), "--advertise", "h4", "--witness"}
	}
	done(t, args(whole)...)
	_, answer := d.answer(d.asked[0])
	text, err := json.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(t.TempDir(), "m4")
	plant(t, filepath.Join(home, "tls", "key.pem"), tree(t, whole)["tls/key.pem"])
	plant(t, filepath.Join(home, "joined.json"), string(text))
	done(t, args(home)...)
	if len(d.asked) != 1 {
		t.Errorf("asked %d times", len(d.asked))
	}
	if _, err := config.Load(filepath.Join(home, "config.toml"), nil, nil); err != nil {
		t.Error(err)
	}
	if files := tree(t, home); files["joined.json"] != "" {
		t.Error("the answer is left")
	}
}

// TestCertificateCommands look at a home's certificate and renew it: with the CA's key, and through the member that has it.
func TestCertificateCommands(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "homes")
	done(t, "init", "--dir", dir, "--members", "m1=h1,m2=h2", "--witnesses", "m1,m2", "--cluster", "prod", "--producers", "bp")
	m1, m2 := filepath.Join(dir, "m1"), filepath.Join(dir, "m2")
	show := func(home string) (v certificateView) {
		t.Helper()
		if err := json.Unmarshal([]byte(done(t, "certificate", "show", "--home", home, "-o", "json")), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	first := show(m1)
	if first.Member != "m1" || !first.CAKey || first.Problem != "" || len(first.CAs) != 1 || first.Issuer != first.CAs[0].Fingerprint || first.NotAfter != "2027-02-19T12:00:00Z" || first.RenewAt != "2027-01-20T11:58:20Z" {
		t.Errorf("%+v", first)
	}
	if out := done(t, "certificate", "show", "--home", m2); !strings.Contains(out, "hosts     m2, localhost, h2, 127.0.0.1, ::1") {
		t.Error(out)
	}
	done(t, "certificate", "renew", "--home", m1)
	if show(m1).Serial == first.Serial {
		t.Error("not renewed")
	}
	if code, _, errs := command("certificate", "renew", "--home", m2); code != exitFailed || !strings.Contains(errs, "--server") {
		t.Errorf("without the CA's key: exit %d: %s", code, errs)
	}
	k, err := security.Open(security.Config{Files: security.InHome(m1), Member: "m1", Now: func() time.Time { return testNow }})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body api.CertificateRequest
		_ = json.NewDecoder(r.Body).Decode(&body)
		issued, err := k.Sign([]byte(body.CSR), security.Peer(r.TLS))
		if err != nil {
			t.Error(err)
		}
		_ = json.NewEncoder(w).Encode(api.Certificate{Certificate: string(issued.Cert), CA: string(issued.CA)})
	}))
	srv.TLS = k.API(func(string) {})
	srv.StartTLS()
	defer srv.Close()
	before := show(m2)
	done(t, "certificate", "renew", "--home", m2, "--server", srv.URL)
	if after := show(m2); after.Serial == before.Serial || after.Problem != "" {
		t.Errorf("%+v", after)
	}
	plant(t, filepath.Join(m2, "tls", "ca.pem"), string(newDoor(t).caPEM(t)))
	if v := show(m2); !strings.Contains(v.Problem, "unknown authority") || v.Issuer != "" {
		t.Errorf("of another CA: %+v", v)
	}
}

// caPEM is the door's CA, as its handshake shows it.
func (d *door) caPEM(t *testing.T) []byte {
	t.Helper()
	c, err := tls.Dial("tcp", d.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	certs := c.ConnectionState().PeerCertificates
	return pemOf(certs[len(certs)-1].Raw)
}

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
