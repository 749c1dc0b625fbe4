package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// planted is a token that must never be seen in any output.
const planted = "rt1_abc_0123456789S3cret"

// configHome gives a test its own contexts.
func configHome(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	return filepath.Join(dir, "roundtable", "contexts.toml")
}

func put(t *testing.T, file, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestTarget: flags over environment over context over default, and a token goes nowhere that it was not meant for.
func TestTarget(t *testing.T) {
	file := configHome(t)
	dir := t.TempDir()
	tokenFile := put(t, filepath.Join(dir, "token"), "rt1_file_x\n")
	put(t, file, `current = "prod"
[contexts.prod]
servers = ["http://127.0.0.1:1", "http://127.0.0.1:2"]
token = "rt1_prod_x"
[contexts.filed]
servers = ["http://127.0.0.1:3"]
token_file = "`+tokenFile+`"
[contexts.home]
home = "/srv/rt"
`)
	socket := put(t, filepath.Join(dir, "api.sock"), "")
	for _, tc := range []struct {
		name        string
		flags       flags
		environment map[string]string
		socket      string
		want        string // servers, and the token in front of each
	}{
		{"current context", flags{}, nil, "", "rt1_prod_x@http://127.0.0.1:1 rt1_prod_x@http://127.0.0.1:2"},
		{"current context, token of the environment", flags{}, map[string]string{"ROUNDTABLE_TOKEN": "rt1_env_x"}, "", "rt1_env_x@http://127.0.0.1:1 rt1_env_x@http://127.0.0.1:2"},
		{"token of a flag over one of the environment", flags{token: "rt1_flag_x"}, map[string]string{"ROUNDTABLE_TOKEN": "rt1_env_x", "ROUNDTABLE_SERVER": "localhost:5"}, "", "rt1_flag_x@http://localhost:5"},
		{"token file over the environment's", flags{tokenFile: tokenFile}, map[string]string{"ROUNDTABLE_TOKEN": "rt1_env_x", "ROUNDTABLE_SERVER": "localhost:5"}, "", "rt1_file_x@http://localhost:5"},
		{"a server that is named gets no token of a context that is not", flags{servers: []string{"localhost:4"}}, nil, "", "@http://localhost:4"},
		{"as of the environment", flags{}, map[string]string{"ROUNDTABLE_SERVER": "localhost:4, localhost:5"}, "", "@http://localhost:4 @http://localhost:5"},
		{"but of one that is", flags{servers: []string{"localhost:4"}, context: "prod"}, nil, "", "rt1_prod_x@http://localhost:4"},
		{"another context", flags{context: "filed"}, nil, "", "rt1_file_x@http://127.0.0.1:3"},
		{"another context of the environment", flags{}, map[string]string{"ROUNDTABLE_CONTEXT": "filed"}, "", "rt1_file_x@http://127.0.0.1:3"},
		{"the flag's context over the environment's", flags{context: "home"}, map[string]string{"ROUNDTABLE_CONTEXT": "filed"}, "", "@unix:///srv/rt/api.sock"},
		{"home", flags{home: "/h"}, map[string]string{"ROUNDTABLE_SERVER": "localhost:4", "ROUNDTABLE_TOKEN": "rt1_env_x"}, "", "@unix:///h/api.sock"},
		{"home of the environment", flags{}, map[string]string{"ROUNDTABLE_HOME": "/h"}, "", "@unix:///h/api.sock"},
		{"server over home in the environment", flags{}, map[string]string{"ROUNDTABLE_HOME": "/h", "ROUNDTABLE_SERVER": "unix:///x/y"}, "", "@unix:///x/y"},
		{"each server once", flags{servers: []string{"localhost:1", "http://localhost:1/", "[::1]:2", "localhost:1"}}, nil, "", "@http://localhost:1 @http://[::1]:2"},
		{"nothing", flags{}, map[string]string{"XDG_CONFIG_HOME": dir}, "", "@http://127.0.0.1:9080"},
		{"nothing but a token", flags{}, map[string]string{"XDG_CONFIG_HOME": dir, "ROUNDTABLE_TOKEN": "rt1_env_x"}, "", "rt1_env_x@http://127.0.0.1:9080"},
		{"nothing and a home", flags{}, map[string]string{"XDG_CONFIG_HOME": dir}, socket, "@unix://" + socket},
		{"a home that is none", flags{}, map[string]string{"XDG_CONFIG_HOME": "/dev/null"}, socket, "@unix://" + socket},
		{"no folder for contexts", flags{}, map[string]string{"XDG_CONFIG_HOME": "-"}, "", "@http://127.0.0.1:9080"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			environ := func(name string) string {
				if v, ok := tc.environment[name]; ok {
					return strings.TrimPrefix(v, "-")
				}
				if name == "XDG_CONFIG_HOME" {
					return os.Getenv(name)
				}
				return ""
			}
			a := &app{machine: machine{environ: environ, socket: tc.socket}, flags: tc.flags}
			servers, err := a.target()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range servers {
				got = append(got, string(s.token)+"@"+s.name)
			}
			if d := cmp.Diff(tc.want, strings.Join(got, " ")); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestBadTarget: what cannot be is said before anything is sent, and without the token.
func TestBadTarget(t *testing.T) {
	file := configHome(t)
	put(t, file, "[contexts.a]\nservers = [\"http://127.0.0.1:1\"]\n")
	loose := t.TempDir()
	put(t, filepath.Join(loose, "roundtable", "contexts.toml"), "")
	if err := os.Chmod(filepath.Join(loose, "roundtable", "contexts.toml"), 0o640); err != nil {
		t.Fatal(err)
	}
	bad := t.TempDir()
	put(t, filepath.Join(bad, "roundtable", "contexts.toml"), "[contexts.a]\ntoken = "+planted)
	strange := t.TempDir()
	put(t, filepath.Join(strange, "roundtable", "contexts.toml"), "[contexts.a]\ntokn = \""+planted+"\"")
	empty := put(t, filepath.Join(t.TempDir(), "empty"), " \n")
	for _, tc := range []struct {
		args, config, message, hint string
		code                        int
	}{
		{"--server ftp://x", "", "is not the URL", "https://m1", exitUsage},
		{"--server http://u:" + planted + "@x", "", "no user or password", "--token-file", exitUsage},
		{"--server http://10.0.0.1:9080 --token " + planted, "", "http://10.0.0.1:9080 in the clear", "https://", exitUsage},
		{"--server http://x --home /h", "", "both given", "--home", exitUsage},
		{"--token x --token-file y", "", "both given", "one of them", exitUsage},
		{"--token-file /nowhere", "", "/nowhere", "one line", exitUsage},
		{"--token-file " + empty, "", "is empty", "one line", exitUsage},
		{"--ca /nowhere", "", "/nowhere", "--ca", exitUsage},
		{"--ca " + empty, "", "holds no certificate", "--ca", exitUsage},
		{"--context b", "", `no context "b"`, "there are: a", exitUsage},
		{"--context b", "/dev/null", "not a directory", "--home", exitUsage},
		{"", loose, "others may read", "chmod 600", exitFailed},
		{"", bad, "line 2 is not understood", "token_file", exitFailed},
		{"", strange, "unknown key contexts.a.tokn", "token_file", exitFailed},
		{"--home /nowhere", "", "no manager answered: unix:///nowhere/api.sock", "no manager runs with that home", exitUnreachable},
		{"--server https://127.0.0.1:1 --ca " + empty + " --server unix:///", "", "holds no certificate", "--ca", exitUsage},
	} {
		t.Run(tc.args+filepath.Base(tc.config), func(t *testing.T) {
			if tc.config != "" {
				t.Setenv("XDG_CONFIG_HOME", tc.config)
			}
			code, out, errs := command(append([]string{"status"}, strings.Fields(tc.args)...)...)
			if code != tc.code || !strings.Contains(errs, tc.message) || !strings.Contains(errs, "hint: ") || !strings.Contains(errs, tc.hint) {
				t.Errorf("exit %d: %s", code, errs)
			}
			if strings.Contains(out+errs, "S3cret") {
				t.Errorf("the token is printed: %s%s", out, errs)
			}
		})
	}
	code, _, errs := command("status", "--token", planted+"\n"+planted)
	if code != exitUsage || strings.Contains(errs, "S3cret") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if code, _, errs = command("status", planted); code != exitUsage || strings.Contains(errs, "S3cret") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// authority is a CA, and a server on 127.0.0.1 that shows a certificate of it for an address.
func authority(t *testing.T, usage x509.ExtKeyUsage, answers *fakeAPI, address string) (ca string, s *httptest.Server) {
	t.Helper()
	issue := func(template, parent *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	keys := make([]*ecdsa.PrivateKey, 2)
	for i := range keys {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = key
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der := issue(root, root, &keys[0].PublicKey, keys[0])
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "m1"}, DNSNames: []string{"m1"}, IPAddresses: []net.IP{net.ParseIP(address)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{usage}}
	s = httptest.NewUnstartedServer(answers.Config.Handler)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{issue(leaf, root, &keys[1].PublicKey, keys[0])}, PrivateKey: keys[1]}}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return put(t, filepath.Join(t.TempDir(), "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))), s
}

// TestTLS: a server is believed when its certificate is of the cluster's CA and good for the host that was asked, and only then
// is it sent the token: one of another member, that was removed perhaps, does not do.
func TestTLS(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	f.on("GET /cluster", exampleOverview())
	ca, s := authority(t, x509.ExtKeyUsageServerAuth, f, "127.0.0.1")
	foreign, _ := authority(t, x509.ExtKeyUsageServerAuth, f, "127.0.0.1")
	clients, client := authority(t, x509.ExtKeyUsageClientAuth, f, "127.0.0.1")
	others, other := authority(t, x509.ExtKeyUsageServerAuth, f, "192.0.2.1")
	plain := strings.TrimPrefix(f.URL, "http://")
	t.Setenv("ROUNDTABLE_TOKEN", planted)
	bare := strings.TrimPrefix(s.URL, "https://")
	for _, tc := range []struct {
		name, server, ca, message, hint string
		code                            int
	}{
		{"the cluster's CA", s.URL, ca, "", "", exitDone},
		{"https goes without saying where there is a CA", bare, ca, "", "", exitDone},
		{"no CA", s.URL, "", "no manager answered: " + s.URL, "name the cluster's CA certificate with --ca", exitUnreachable},
		{"a foreign CA", s.URL, foreign, "no manager answered: " + s.URL, "not of a CA that is known here", exitUnreachable},
		{"a certificate that is not for servers", client.URL, clients, "no manager answered", "certificate", exitUnreachable},
		{"another member", other.URL, others, "192.0.2.1, not 127.0.0.1", "tls.hosts", exitUnreachable},
		{"no TLS there", "https://" + plain, ca, "no manager answered: https://" + plain, "does not speak TLS", exitUnreachable},
		{"TLS there", "http://" + bare, "", "the server answered 400", "say https://", exitFailed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f.asked = nil
			args := []string{"status", "--server", tc.server}
			if tc.ca != "" {
				args = append(args, "--ca", tc.ca)
			}
			code, out, errs := command(args...)
			if code != tc.code || !strings.Contains(errs, tc.message) || !strings.Contains(errs, tc.hint) {
				t.Errorf("exit %d: %s%s", code, out, errs)
			}
			if strings.Contains(out+errs, "S3cret") {
				t.Error("the token is printed")
			}
			switch {
			case tc.code != exitDone && len(f.asked) > 0:
				t.Error("it was sent a request")
			case tc.code == exitDone && (len(f.asked) != 1 || f.asked[0].Header.Get("Authorization") != "Bearer "+planted):
				t.Errorf("the token did not come: %v", f.asked)
			}
		})
	}
}

// TestSocket: a manager's socket is asked without a token.
func TestSocket(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	f.on("GET /cluster", exampleOverview())
	home := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(home, "api.sock"))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: f.Config.Handler}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Setenv("ROUNDTABLE_TOKEN", planted)
	t.Chdir(filepath.Dir(home))
	for _, args := range [][]string{{"--home", home}, {"--home", filepath.Base(home)}, {"--server", "unix://" + home + "/api.sock"}} {
		if code, out, errs := command(append([]string{"status"}, args...)...); code != exitDone || !strings.HasPrefix(out, "ok: ") {
			t.Errorf("exit %d: %s%s", code, out, errs)
		}
	}
	for _, r := range f.asked {
		if r.Header.Get("Authorization") != "" {
			t.Error("the token was sent to a socket")
		}
	}
}

// TestRefusedForIdentity: where a token is to be given, and who can make one.
func TestRefusedForIdentity(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	f.answer("GET /cluster", http.StatusUnauthorized, `{"error":{"code":"unauthenticated","message":"no token was sent"}}`)
	f.answer("GET /cluster/lease", http.StatusForbidden, `{"error":{"code":"forbidden","message":"it takes the role operate, this token has read `+planted+`","hint":"another token"}}`)
	for args, want := range map[string]string{
		"status": "error: no token was sent [unauthenticated]\nhint: give a token with --token-file FILE, ROUNDTABLE_TOKEN or a context",
		"lease":  "error: it takes the role operate, this token has read rt1_abc_(hidden) [forbidden]\nhint: another token\n",
	} {
		if code, _, errs := command(args, "--server", f.URL); code != exitFailed || !strings.HasPrefix(errs, want) {
			t.Errorf("exit %d: %s", code, errs)
		}
	}
}
