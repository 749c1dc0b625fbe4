package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"roundtable/test/servers"
)

func TestURLs(t *testing.T) {
	for raw, want := range map[string]Code{
		"":                          BadURL,
		"/folder":                   BadURL,
		"file://folder/x":           BadURL,
		"file:///":                  BadURL,
		"file:///x?region=y":        BadURL,
		"ftp://host/x":              BadURL,
		"s3:///x":                   BadURL,
		"s3://b/a/../c":             BadURL,
		"s3://b?colour=red":         BadURL,
		"s3://b?anonymous=perhaps":  BadURL,
		"s3://b?endpoint=localhost": BadURL,
		"s3://b?endpoint=http://a&s3ForcePathStyle=maybe": BadURL,
		"s3://key:wrong-secret@b":                         BadURL,
		"s3://b?endpoint=http://key:wrong-secret@host":    BadURL,
		"gs://b?colour=red":                               BadURL,
		"gs://b?region=x":                                 BadURL,
		"gs://b?a;b":                                      BadURL,
		"file:///x#1":                                     BadURL,
		"file:///x?create_dir=perhaps":                    BadURL,
		"azblob://b?sig=wrong-secret":                     BadURL,
		"s3://b%zz/wrong-secret":                          BadURL,
		"s3://b":                                          Region,
	} {
		t.Setenv("AWS_REGION", "")
		b, err := Open(t.Context(), raw, now)
		if b != nil {
			t.Errorf("%s is open", raw)
		}
		wrong(t, err, want)
		if err := CheckURL(raw); want == BadURL {
			wrong(t, err, want)
		} else if err != nil {
			t.Error(err)
		}
	}
	for scheme, names := range parameters { // each is one that its store takes
		for _, name := range names {
			raw := scheme + "://b?" + name + "=" + map[string]string{
				"endpoint": "http://host", "awssdk": "v2", "rate_limiter_capacity": "5", "request_checksum_calculation": "when_required",
				"response_checksum_validation": "when_required", "ssetype": "AES256", "kmskeyid": "x", "role": "arn:aws:iam::123456789012:role/x", "region": "y", "storage_account": "x", "domain": "x", "protocol": "http",
			}[name]
			if slices.Contains(switches, name) {
				raw += "true"
			}
			raw = strings.Replace(raw, "file://b", "file://"+t.TempDir(), 1)
			if err := CheckURL(raw); err != nil {
				t.Error(err)
			}
			if b, err := Open(t.Context(), raw, now); CodeOf(err) == BadURL {
				t.Errorf("%s: %v", raw, err)
			} else if b != nil {
				_ = b.Close()
			}
		}
	}
}

func TestMask(t *testing.T) {
	for raw, want := range map[string]string{
		"s3://bucket/prefix?region=eu&endpoint=http://u:p@h:1": "s3://bucket/prefix?endpoint=http://h:1&region=eu",
		"s3://key:secret@bucket/p?secret=x":                    "s3://bucket/p?secret=***",
		"azblob://c?sig=abc&storage_account=a":                 "azblob://c?sig=***&storage_account=a",
		"file:///a/b":                                          "file:///a/b",
		"s3://u:p%zz@host":                                     "s3://***",
		"%zz":                                                  "***",
	} {
		if got := Mask(raw); got != want {
			t.Errorf("%s is shown as %s, want %s", raw, got, want)
		}
	}
	s := newSecrets([]string{"AWS_SECRET_ACCESS_KEY=abc/def+1", "AZURE_STORAGE_CONNECTION_STRING=AccountKey=1234"})
	for raw, want := range map[string]string{
		"with abc/def+1 in it":                     "with *** in it",
		"GET https://a/b?sv=1&sig=x%2By&se=2: bad": "GET https://a/b?sv=1&sig=***&se=2: bad",
		"at http://user:pass@host/x\n\tand more":   "at http://host/x and more",
		"AccountKey=1234 is wrong":                 "*** is wrong",
		strings.Repeat("ä", 400):                   strings.Repeat("ä", 200) + "...",
	} {
		if got := s.mask(raw); got != want {
			t.Errorf("%q is shown as %q, want %q", raw, got, want)
		}
	}
}

func TestReadEnv(t *testing.T) {
	path := filepath.Join(t.TempDir(), "env")
	write := func(text string, mode os.FileMode) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("# credentials\n\nexport AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY = \"b=c # d\"\r\nAWS_REGION=\n", 0o600)
	env, err := ReadEnv(path)
	if want := []string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b=c # d", "AWS_REGION="}; err != nil || strings.Join(env, "|") != strings.Join(want, "|") {
		t.Errorf("%q %v", env, err)
	}
	for text, mode := range map[string]os.FileMode{
		"AWS_REGION=x": 0o640, "AWS_REGION=y": 0o604, "LD_PRELOAD=wrong-secret": 0o600, "wrong-secret": 0o600, "AWS_X=\"wrong-secret": 0o600,
		"AWS_X=\x00": 0o600, "AWS_X=" + strings.Repeat("x", maxEnv): 0o600,
	} {
		write(text, mode)
		_, err := ReadEnv(path)
		wrong(t, err, BadEnv)
	}
	_, err = ReadEnv(path + "2")
	wrong(t, err, BadEnv)
	_, err = ReadEnv(filepath.Dir(path))
	wrong(t, err, BadEnv)
}

func FuzzParseEnv(f *testing.F) {
	f.Add([]byte("AWS_A=b\n#\nexport AWS_B='c'"))
	f.Fuzz(func(t *testing.T, data []byte) {
		env, _, err := parseEnv(data)
		if err != nil {
			return
		}
		for _, pair := range env {
			name, value, ok := strings.Cut(pair, "=")
			if !ok || !envNames.MatchString(name) || strings.ContainsAny(value, "\x00\n") {
				t.Errorf("%q", pair)
			}
		}
	})
}

// TestLimit has four transfers share what may be moved in a second.
func TestLimit(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		limits := NewLimits(1<<20, 2<<20)
		for i := range 4 {
			go func() {
				b, err := Open(t.Context(), "file://"+dir, Options{Limits: limits})
				if err != nil {
					t.Error(err)
					return
				}
				name := fmt.Sprintf("packs/a/%d", i)
				if err := b.Put(t.Context(), name, make([]byte, 2<<20)); err != nil {
					t.Error(err)
				}
				if _, err := b.Get(t.Context(), name); err != nil {
					t.Error(err)
				}
			}()
		}
		time.Sleep(time.Hour)
		synctest.Wait()
	})
	start := time.Now()
	b := open(t, "file://"+dir, Options{Limits: NewLimits(0, 4<<20)})
	if _, err := b.Get(t.Context(), "packs/a/1"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 350*time.Millisecond { // 2 MiB, of which a burst of 256 KiB goes at once
		t.Errorf("took %s", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := open(t, "file://"+dir, Options{Limits: NewLimits(1, 0)}).Put(ctx, "packs/b", make([]byte, 1<<20)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// TestStall has a server that stops in the middle of an answer, one that never answers, and one that takes no more of a body.
func TestStall(t *testing.T) {
	for name, stop := range map[string]func(http.ResponseWriter, *http.Request){
		"in an answer": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000000")
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			_, _ = w.Write(make([]byte, 1000))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
		"before an answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if asked.Add(1) <= 2 {
					stop(w, r)
					return
				}
				w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
				_, _ = w.Write([]byte("whole"))
			}))
			defer server.Close()
			raw := "s3://kept?anonymous=true&region=x&endpoint=" + url.QueryEscape(server.URL)
			_, err := open(t, raw, Options{Stall: 100 * time.Millisecond, Patience: -1}).Get(t.Context(), "config")
			wrong(t, err, Stalled)
			retries := 0
			got, err := open(t, raw, Options{Stall: 100 * time.Millisecond, Retry: func(r Retry) {
				wrong(t, r.Err, Stalled)
				retries++
			}}).Get(t.Context(), "config")
			if err != nil || string(got) != "whole" || retries != 1 {
				t.Errorf("%q %v after %d", got, err, retries)
			}
		})
	}
	t.Run("in a body", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			var held []net.Conn
			for {
				c, err := l.Accept()
				if err != nil {
					for _, c := range held {
						c.Close()
					}
					return
				}
				held = append(held, c) // and nothing is ever read
			}
		}()
		b := open(t, "s3://kept?anonymous=true&region=x&endpoint=http%3A%2F%2F"+l.Addr().String(), Options{Stall: 100 * time.Millisecond, Patience: -1})
		wrong(t, b.Put(t.Context(), "packs/a/1", make([]byte, 32<<20)), Stalled)
	})
}

// TestRetries has a server with faults of a kind: those that may pass are tried again, the others never.
func TestRetries(t *testing.T) {
	for status, temporary := range map[int]bool{500: true, 502: true, 503: true, 429: true, 408: true, 400: false, 401: false, 403: false, 404: false, 501: false, 507: false} {
		var asked atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if asked.Add(1) == 1 {
				w.WriteHeader(status)
			}
		}))
		err := open(t, "s3://kept?anonymous=true&region=x&endpoint="+url.QueryEscape(server.URL), Options{}).Put(t.Context(), "config", []byte("x"))
		if temporary != (err == nil) || temporary != (asked.Load() == 2) {
			t.Errorf("%d: %v after %d", status, err, asked.Load())
		}
		server.Close()
	}
}

// TestPatienceEnds: the time for trying again is bounded, and so is that of a context.
func TestPatienceEnds(t *testing.T) {
	o := Options{Patience: 700 * time.Millisecond, Env: rootOf()}
	raw := "s3://kept?region=x&endpoint=http%3A%2F%2F127.0.0.1:1"
	start := time.Now()
	wrong(t, open(t, raw, o).Put(t.Context(), "config", nil), Unreachable)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := open(t, raw, Options{Env: rootOf()}).Put(ctx, "config", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// TestCheckFindsBadStores: a server that knows no conditions, and one that gives back something else.
func TestCheckFindsBadStores(t *testing.T) {
	for want, answer := range map[Code][]byte{Replaces: nil, Wrong: []byte("something else")} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			switch {
			case r.Method == http.MethodGet:
				_, _ = w.Write(answer)
			case r.Method == http.MethodPut && answer != nil && bytes.HasSuffix(body, []byte(".")):
				w.WriteHeader(http.StatusPreconditionFailed)
			}
		}))
		err := open(t, "s3://kept?anonymous=true&region=x&endpoint="+url.QueryEscape(server.URL), now).Check(t.Context())
		wrong(t, err, want)
		server.Close()
	}
}

func TestTooBig(t *testing.T) {
	dir := t.TempDir()
	o := now
	o.MaxObject = 10
	b := open(t, "file://"+dir, o)
	if err := b.Put(t.Context(), "config", make([]byte, 11)); err != nil {
		t.Fatal(err)
	}
	_, err := b.Get(t.Context(), "config")
	wrong(t, err, TooBig)
}

func TestGCSRefuses(t *testing.T) {
	server := servers.GCS(t, "kept")
	query := "?endpoint=" + url.QueryEscape(server.URL)
	errs := everything(t, open(t, "gs://none"+query, now))
	for _, what := range []string{"put", "list", "check"} { // of an object that is read the emulator says only that it is not there
		wrong(t, errs[what], NoBucket)
	}
	server.Kill()
	for _, err := range everything(t, open(t, "gs://kept"+query, now)) {
		wrong(t, err, Unreachable)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "none"))
	_, err := Open(t.Context(), "gs://kept", now)
	wrong(t, err, Credentials)
	_, err = Open(t.Context(), "gs://kept", Options{Env: []string{"GOOGLE_APPLICATION_CREDENTIALS=" + t.TempDir()}})
	wrong(t, err, Credentials)
}
