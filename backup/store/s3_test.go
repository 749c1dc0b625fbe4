package store

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"roundtable/backup"
	"roundtable/test/servers"
)

// wrong checks an error's code, that it has a hint, and that no secret is in it.
func wrong(t *testing.T, err error, want Code) {
	t.Helper()
	if !errors.Is(err, want) || Hint(err) == "" {
		t.Errorf("%v (%s) is no %q (hint: %q)", err, CodeOf(err), string(want), Hint(err))
		return
	}
	for _, secret := range []string{servers.RootSecret, "wrong-secret", "reader-secret", "writer-secret"} {
		if strings.Contains(fmt.Sprintf("%v %+v", err, err), secret) {
			t.Errorf("a secret is in it: %v", err)
		}
	}
}

// everything does each operation once, on an object that is there and on others that are not.
func everything(t *testing.T, b *Bucket) map[string]error {
	errs := map[string]error{"put": b.Put(t.Context(), "packs/new", make([]byte, 100_000)), "delete": b.Delete(t.Context(), "packs/there")}
	_, errs["get"] = b.Get(t.Context(), "packs/there")
	for _, err := range b.List(t.Context(), "packs/") {
		errs["list"] = errors.Join(errs["list"], err)
	}
	errs["check"] = b.Check(t.Context())
	return errs
}

func TestS3Refuses(t *testing.T) {
	reader, writer := servers.User{Key: "reader", Secret: "reader-secret"}, servers.User{Key: "writer", Secret: "writer-secret"}
	server := servers.S3(t, reader, writer)
	policy := func(bucket string) string {
		return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Principal":{"AWS":["reader","writer"]},"Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::%[1]s","arn:aws:s3:::%[1]s/*"]},
			{"Effect":"Allow","Principal":{"AWS":["writer"]},"Action":["s3:PutObject"],"Resource":["arn:aws:s3:::%[1]s/*"]}]}`, bucket)
	}
	makeBucket(t, server, "kept", policy("kept"))
	as := func(bucket, key, secret string) *Bucket {
		o := now
		o.Env = envOf(key, secret)
		return open(t, s3URL(server, bucket), o)
	}
	if err := as("kept", servers.RootKey, servers.RootSecret).Put(t.Context(), "packs/there", []byte("x")); err != nil {
		t.Fatal(err)
	}
	t.Run("wrong secret", func(t *testing.T) {
		for _, err := range everything(t, as("kept", servers.RootKey, "wrong-secret")) {
			wrong(t, err, Credentials)
		}
	})
	t.Run("unknown key", func(t *testing.T) {
		for _, err := range everything(t, as("kept", "nobody", "wrong-secret")) {
			wrong(t, err, Credentials)
		}
	})
	t.Run("no bucket", func(t *testing.T) {
		for _, err := range everything(t, as("none", servers.RootKey, servers.RootSecret)) {
			wrong(t, err, NoBucket)
		}
	})
	t.Run("may only read", func(t *testing.T) {
		errs := everything(t, as("kept", reader.Key, reader.Secret))
		for _, what := range []string{"put", "delete", "check"} {
			wrong(t, errs[what], Permission)
		}
		if errs["get"] != nil || errs["list"] != nil {
			t.Errorf("%v", errs)
		}
	})
	t.Run("may not delete", func(t *testing.T) {
		errs := everything(t, as("kept", writer.Key, writer.Secret))
		for _, what := range []string{"delete", "check"} {
			wrong(t, errs[what], Permission)
		}
		if !strings.Contains(Hint(errs["check"]), "delete") {
			t.Errorf("%v (%s)", errs["check"], Hint(errs["check"]))
		}
		if errs["put"] != nil || errs["get"] != nil {
			t.Errorf("%v", errs)
		}
	})
	t.Run("https to a server of http", func(t *testing.T) {
		o := now
		o.Env = rootOf()
		for _, err := range everything(t, open(t, strings.Replace(s3URL(server, "kept"), "http%3A", "https%3A", 1), o)) {
			wrong(t, err, TLS)
		}
	})
	t.Run("nobody answers", func(t *testing.T) {
		server.Kill()
		for _, err := range everything(t, as("kept", servers.RootKey, servers.RootSecret)) {
			wrong(t, err, Unreachable)
		}
	})
}

// TestS3Clock puts a proxy before the server that makes it look half an hour ahead of us.
func TestS3Clock(t *testing.T) {
	server := servers.S3(t)
	makeBucket(t, server, "kept", "")
	to, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	const ahead = 30 * time.Minute
	const form = "20060102T150405Z"
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			if at, err := time.Parse(form, r.In.Header.Get("X-Amz-Date")); err == nil {
				r.Out.Header.Set("X-Amz-Date", at.Add(-ahead).Format(form))
			}
		},
		ModifyResponse: func(r *http.Response) error {
			r.Header.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
			return nil
		},
	})
	defer proxy.Close()
	server.URL = proxy.URL
	o := now
	o.Env = rootOf()
	for _, err := range everything(t, open(t, s3URL(server, "kept"), o)) {
		wrong(t, err, Clock)
		if err != nil && !strings.Contains(err.Error(), "behind the store's") {
			t.Error(err)
		}
	}
}

// TestS3IsKilled kills the server in the middle of an object, and starts it again.
func TestS3IsKilled(t *testing.T) {
	server := servers.S3(t)
	makeBucket(t, server, "kept", "")
	var retries atomic.Int32
	down := make(chan error, 1)
	limits := NewLimits(2<<20, 0)
	b := open(t, s3URL(server, "kept"), Options{Env: rootOf(), Limits: limits, Retry: func(r Retry) {
		if retries.Add(1) == 2 { // the first attempt was cut, the second one found nobody
			down <- server.Start()
		}
	}})
	body := bytes.Repeat([]byte("0123456789abcdef"), 4<<16) // 4 MiB: two seconds
	go func() {
		// The server writes into an unnamed or a temporary file: wait for the time that half of it takes.
		time.Sleep(time.Second)
		server.Kill()
	}()
	if err := b.Put(t.Context(), "packs/a/1", body); err != nil {
		t.Fatal(err)
	}
	if err := <-down; err != nil {
		t.Fatal(err)
	}
	if got, err := b.Get(t.Context(), "packs/a/1"); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes %v", len(got), err)
	}
}

func TestS3Full(t *testing.T) {
	server := servers.S3In(t, small(t, "2m"))
	makeBucket(t, server, "kept", "")
	o := now
	o.Env = rootOf()
	b := open(t, s3URL(server, "kept"), o)
	err := b.Put(t.Context(), "packs/a/1", make([]byte, 8<<20))
	wrong(t, err, NoSpace)
	if err := b.Put(t.Context(), "packs/a/1", make([]byte, 64<<10)); err != nil { // nothing was left of the first
		t.Error(err)
	}
}

// TestLostAnswer has a proxy that loses the answer to a write that has succeeded: the second attempt finds our own object.
func TestLostAnswer(t *testing.T) {
	server := servers.S3(t)
	makeBucket(t, server, "kept", "")
	to, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	var lost atomic.Int32
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host /* it is signed */ },
		ModifyResponse: func(r *http.Response) error {
			if r.Request.Method == http.MethodPut && r.StatusCode == http.StatusOK {
				lost.Add(1)
				return http.ErrAbortHandler
			}
			return nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // hang up
	})
	defer proxy.Close()
	direct := s3URL(server, "kept")
	server.URL = proxy.URL
	b, d := open(t, s3URL(server, "kept"), Options{Env: rootOf()}), open(t, direct, Options{Env: rootOf()})
	if err := b.Put(t.Context(), "manifests/a", []byte("one")); err != nil || lost.Load() != 1 {
		t.Errorf("%v, %d answers lost", err, lost.Load())
	}
	if err := d.Put(t.Context(), "manifests/b", []byte("another's")); err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), "manifests/b", []byte("one")); !errors.Is(err, backup.ErrExists) {
		t.Error(err)
	}
}

func TestS3WithoutCredentials(t *testing.T) {
	server := servers.S3(t)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	home := t.TempDir()
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, "none"))
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(home, "none"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	wrong(t, open(t, s3URL(server, "kept"), now).Put(t.Context(), "config", nil), Credentials)
	if err := os.WriteFile(filepath.Join(home, "env"), []byte("AWS_ACCESS_KEY_ID="+servers.RootKey+"\nAWS_SECRET_ACCESS_KEY='"+servers.RootSecret+"'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env, err := ReadEnv(filepath.Join(home, "env"))
	if err != nil {
		t.Fatal(err)
	}
	makeBucket(t, server, "kept", "")
	if err := open(t, s3URL(server, "kept"), Options{Env: env, Patience: -1}).Check(t.Context()); err != nil {
		t.Error(err)
	}
}
