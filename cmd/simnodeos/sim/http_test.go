package sim

import (
	"bufio"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestHTTPAgainstRecordings sends requests of the recordings c-http and compares status and the shape of the body.
func TestHTTPAgainstRecordings(t *testing.T) {
	t.Parallel()
	r := newRig(t, "a", writeGenesis(t), keyConfig)
	p := r.start("-e", "--genesis-json", r.genesis)
	p.produced(11)
	files, err := filepath.Glob("testdata/http/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var rec struct {
			Request struct {
				Method, Path string
				Body         any
			}
			Status  int
			Headers [][2]string
			Body    any
		}
		if err := json.Unmarshal(data, &rec); err != nil {
			t.Fatal(err)
		}
		body := ""
		switch b := rec.Request.Body.(type) {
		case nil:
		case string:
			body = b
		default:
			raw, err := json.Marshal(b)
			if err != nil {
				t.Fatal(err)
			}
			body = string(raw)
		}
		req, err := http.NewRequest(rec.Request.Method, "http://"+r.http+rec.Request.Path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var got any
		err = json.NewDecoder(resp.Body).Decode(&got)
		_ = resp.Body.Close()
		if err != nil && rec.Request.Method != http.MethodHead {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if resp.StatusCode != rec.Status || resp.Header.Get("Server") != "nodeos/v1.2.2" || resp.Header.Get("Date") != "" {
			t.Errorf("%s: status %d, want %d; headers %v", file, resp.StatusCode, rec.Status, resp.Header)
		}
		if rec.Request.Method != http.MethodHead {
			sameShape(t, file, rec.Body, got)
		}
	}
}

// sameShape demands the recorded keys and kinds of values; error answers must be equal.
func sameShape(t *testing.T, where string, want, got any) {
	t.Helper()
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			t.Errorf("%s: %v is no object", where, got)
			return
		}
		for k := range w {
			if _, ok := g[k]; !ok {
				t.Errorf("%s: no %q in %v", where, k, got)
				continue
			}
			sameShape(t, where+"."+k, w[k], g[k])
		}
	case []any:
		if g, ok := got.([]any); !ok {
			t.Errorf("%s: %v is no list", where, got)
		} else if len(w) > 0 && len(g) > 0 {
			sameShape(t, where+"[0]", w[0], g[0])
		}
	case string:
		if _, ok := got.(string); !ok {
			t.Errorf("%s: %v is no string", where, got)
		} else if strings.Contains(where, ".error") || strings.HasSuffix(where, ".message") {
			if got != want && !strings.Contains(w, "chain head") {
				t.Errorf("%s: %q, want %q", where, got, want)
			}
		}
	case float64:
		if _, ok := got.(float64); !ok {
			t.Errorf("%s: %v is no number", where, got)
		}
	case bool:
		if _, ok := got.(bool); !ok {
			t.Errorf("%s: %v is no boolean", where, got)
		}
	}
}

func TestHostCheckAndRawHTTP(t *testing.T) {
	t.Parallel()
	r := newRig(t, "a", writeGenesis(t), keyConfig)
	p := r.start("-e", "--genesis-json", r.genesis, "--http-validate-host", "1")
	p.produced(1)
	const refused = `{"code":400,"message":"Disallowed HTTP HOST header in the request","error":{"code":0,"name":"","what":"","details":[]}}`
	for _, c := range []struct{ request, want string }{
		{"GET /v1/chain/get_info HTTP/1.0\r\n\r\n", "HTTP/1.0 400 Bad Request\r\nContent-Type: application/json\r\nServer: nodeos/v1.2.2\r\nContent-Length: 119\r\n\r\n" + refused},
		{"POST /v1/chain/get_info HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\nServer: nodeos/v1.2.2\r\nContent-Length: 119\r\n\r\n" + refused},
		{"POST /v1/producer/paused HTTP/1.1\r\nHost: " + r.http + "\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 201 Created\r\nConnection: close\r\nServer: nodeos/v1.2.2\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nfalse"},
		{"hello\r\n\r\n", ""},
	} {
		conn, err := net.Dial("tcp", r.http)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(c.request)); err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		_, _ = bufio.NewReader(conn).WriteTo(&got) // the other side closes
		_ = conn.Close()
		if got.String() != c.want {
			t.Errorf("%q gives\n%q, want\n%q", c.request, got.String(), c.want)
		}
	}
}
