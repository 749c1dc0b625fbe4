package gate

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"roundtable/node/k1"
)

func TestFileSigner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		_ = os.Remove(path)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("# the key\n\n "+devPrivate+" \n"+secondWIF, 0o400)
	s, err := NewFileSigner(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Keys()) != 2 || s.Keys()[0] != devPublic {
		t.Fatalf("keys %v", s.Keys())
	}
	text, err := s.Sign(context.Background(), digestOf("d"), devPublic)
	if err != nil {
		t.Fatal(err)
	}
	if sig, err := k1.ParseSignature(text); err != nil || sig.String() != text {
		t.Fatal(err)
	}
	if _, err := s.Sign(context.Background(), digestOf("d"), "EOSx"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("an unknown key: %v", err)
	}
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		hint string
	}{
		"group may read":  {devPrivate, 0o640, "chmod 600"},
		"others may read": {devPrivate, 0o604, "chmod 600"},
		"empty":           {"", 0o600, "no key"},
		"only comments":   {"# x\n", 0o600, "no key"},
		"no key":          {devPrivate + "\nhello\n", 0o600, "line 2"},
		"a public key":    {devPublic, 0o600, "line 1"},
	} {
		write(c.text, c.mode)
		_, err := NewFileSigner(path)
		if !errors.Is(err, ErrKeyFile) || !strings.Contains(err.Error(), c.hint) || strings.Contains(err.Error(), devPrivate) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewFileSigner(filepath.Dir(path)); !errors.Is(err, ErrKeyFile) {
		t.Errorf("a directory: %v", err)
	}
	if _, err := NewFileSigner(path + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// fakeKeosd answers as keosd does (recordings e-signature-provider).
func fakeKeosd(t *testing.T, locked *bool) http.Handler {
	signer := newKeys(t, devPrivate)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := func(status int, v any) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(v)
		}
		switch {
		case *locked:
			answer(500, map[string]any{"code": 500, "message": "Internal Service Error", "error": map[string]any{"code": 3120003, "name": "wallet_locked_exception", "what": "Locked wallet", "details": []string{}}})
		case r.URL.Path == keosdKeysPath:
			answer(200, signer.names)
		case r.URL.Path == keosdSignPath:
			var in []string
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil || len(in) != 2 {
				answer(400, nil)
				return
			}
			body := `["` + in[0] + `","` + in[1] + `"]`
			d, key, err := readBody([]byte(body))
			if err != nil || key.String() != devPublic {
				answer(500, nil)
				return
			}
			text, _ := signer.Sign(r.Context(), d, devPublic)
			answer(201, text)
		default:
			answer(404, nil)
		}
	})
}

func TestKeosdSigner(t *testing.T) {
	for _, kind := range []string{"http", "unix"} {
		t.Run(kind, func(t *testing.T) {
			locked := false
			server := httptest.NewUnstartedServer(fakeKeosd(t, &locked))
			address := "unix://" + filepath.Join(t.TempDir(), "k.sock")
			if kind == "unix" {
				_ = server.Listener.Close()
				l, err := net.Listen("unix", strings.TrimPrefix(address, "unix://"))
				if err != nil {
					t.Fatal(err)
				}
				server.Listener = l
			}
			server.Start()
			defer server.Close()
			if kind == "http" {
				address = server.URL
			}
			s, err := NewKeosdSigner(context.Background(), address, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			g := newGate(t, func(c *Config) { c.Signer = s })
			n := openNode(t, g)
			g.Permit(Permit{1, base, base + 9})
			n.announce(7, base+1)
			if got := n.ask("d"); got != "" {
				t.Fatal(got)
			}
			locked = true
			n.announce(8, base+2)
			if got := n.ask("e"); got != ReasonSignerError {
				t.Fatalf("a locked wallet: %q", got)
			}
			if _, err := s.Sign(context.Background(), digestOf("d"), devPublic); !errors.Is(err, ErrKeosd) || !strings.Contains(err.Error(), "wallet_locked_exception") {
				t.Fatalf("a locked wallet: %v", err)
			}
			if _, err := NewKeosdSigner(context.Background(), address, time.Second); !errors.Is(err, ErrKeosd) {
				t.Fatalf("a locked wallet at the start: %v", err)
			}
		})
	}
	for _, address := range []string{"", "https://localhost:1", "http://127.0.0.1:1", "unix:///nowhere.sock", "unix://host/x", "http://user/path", "::"} {
		if _, err := NewKeosdSigner(context.Background(), address, time.Second); !errors.Is(err, ErrKeosd) {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestSlowKeosd(t *testing.T) {
	release := make(chan struct{})
	locked := false
	inner := fakeKeosd(t, &locked)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == keosdSignPath {
			<-release
		}
		inner.ServeHTTP(w, r)
	}))
	defer server.Close()
	defer close(release)
	s, err := NewKeosdSigner(context.Background(), server.URL, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	s.timeout = 20 * time.Millisecond
	if _, err := s.Sign(context.Background(), digestOf("d"), devPublic); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v", err)
	}
}
