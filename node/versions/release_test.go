package versions

import (
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// github is a server with the part of GitHub's API that is used here.
type github struct {
	*server
	release []map[string]any
}

const apiPath = "/api/v3/repos/eos/spring/releases/tags/v1.2.2"

func serveRelease(t testing.TB) *github {
	t.Helper()
	g := &github{server: serve(t, true)}
	return g
}

// asset adds one; digest "" is an older server.
func (g *github) asset(name string, body []byte, digest string) {
	g.add("/dl/"+name, body)
	id := "/api/v3/repos/eos/spring/releases/assets/" + name
	g.add(id, body)
	a := map[string]any{"name": name, "url": g.URL + id, "browser_download_url": g.URL + "/dl/" + name, "size": len(body), "state": "uploaded"}
	if digest != "" {
		a["digest"] = digest
	}
	g.release = append(g.release, a)
	text, err := json.Marshal(map[string]any{"tag_name": "v1.2.2", "assets": g.release})
	if err != nil {
		panic(err)
	}
	g.add(apiPath, text)
}

func TestRelease(t *testing.T) {
	body := deb(".gz", gz(t, tarOf(t, exe("usr/bin/nodeos", nodeos("v1.2.2")))))
	sum := sumOf(body)
	name := "antelope-spring_1.2.2_amd64.deb"
	cases := []struct {
		name, pattern, sha256, checksums, by string
		make                                 func(g *github)
		kind                                 error
		part                                 string
	}{
		{name: "a digest", pattern: "antelope-spring_*_{arch}.deb", by: "release", make: func(g *github) {
			g.asset("antelope-spring-dev_1.2.2_amd64.deb", nil, "")
			g.asset(name, body, "sha256:"+sum)
			g.asset("antelope-spring_1.2.2_arm64.deb", nil, "")
			g.asset(name+".sha256", []byte("wrong"), "")
		}},
		{name: "by its name", pattern: name, by: "release", make: func(g *github) {
			g.asset(name, body, "sha256:"+sum)
			g.asset("other", nil, "")
		}},
		{name: "the only one", by: "release", make: func(g *github) {
			g.asset(name, body, "sha256:"+sum)
			g.asset("SHA256SUMS", nil, "")
			g.asset(name+".asc", nil, "")
		}},
		{name: "a pattern that also fits its checksum", pattern: "*{version}*", by: "release", make: func(g *github) {
			g.asset(name, body, "sha256:"+sum)
			g.asset(name+".sha256", nil, "")
		}},
		{name: "a checksum file", by: "SHA256SUMS.txt", make: func(g *github) {
			g.asset(name, body, "")
			g.asset("SHA256SUMS.txt", []byte(sum+"  "+name+"\n"), "")
		}},
		{name: "a checksum file of its own", by: name + ".sha256", make: func(g *github) {
			g.asset(name, body, "")
			g.asset(name+".sha256", []byte(sum), "")
		}},
		{name: "a checksum file that was named", checksums: "sums-{version}.txt", by: "sums-1.2.2.txt", make: func(g *github) {
			g.asset(name, body, "")
			g.asset("sums-1.2.2.txt", []byte(sum+"  "+name+"\n"), "")
		}},
		{name: "asked for", sha256: sum, by: "request", make: func(g *github) { g.asset(name, body, "") }},
		{name: "asked for, and the release says another", sha256: strings.Repeat("1", 64), kind: ErrChecksum, part: "says the release", make: func(g *github) { g.asset(name, body, "sha256:"+sum) }},
		{name: "a digest that is wrong", kind: ErrChecksum, part: "says the release", make: func(g *github) { g.asset(name, body, "sha256:"+strings.Repeat("1", 64)) }},
		{name: "no checksum", kind: ErrNoChecksum, part: "nothing beside", make: func(g *github) { g.asset(name, body, "md5:1") }},
		{name: "nothing fits", pattern: "*.zip", kind: ErrMissing, part: name, make: func(g *github) { g.asset(name, body, "") }},
		{name: "two fit", pattern: "*.deb", kind: ErrSource, part: "narrower", make: func(g *github) { g.asset(name, body, ""); g.asset("x.deb", body, "") }},
		{name: "two and no pattern", kind: ErrSource, part: "narrower", make: func(g *github) { g.asset(name, body, ""); g.asset("x.deb", body, "") }},
		{name: "a pattern that is none", pattern: "[", kind: ErrSource, part: "no pattern", make: func(g *github) { g.asset(name, body, "") }},
		{name: "no release", kind: ErrMissing, part: "eos/spring has no release v1.2.2", make: func(*github) {}},
		{name: "no assets", kind: ErrMissing, part: "no assets", make: func(g *github) { g.add(apiPath, []byte("{}")) }},
		{name: "no API", kind: ErrSource, part: "as a release's API does", make: func(g *github) { g.add(apiPath, []byte("<html>")) }},
		{name: "the asset is gone", sha256: sum, kind: ErrMissing, part: "404", make: func(g *github) {
			g.asset(name, body, "")
			delete(g.files, "/dl/"+name)
		}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			g := serveRelease(t)
			tc.make(g)
			h := home(t, trusting(g.server))
			req := Request{Tag: "v1.2.2", Source: g.URL + "/api/v3/repos/eos/spring", Asset: tc.pattern, SHA256: tc.sha256, Checksums: tc.checksums}
			s, err := h.Stage(t.Context(), req, nil)
			if tc.kind != nil {
				wantKind(t, err, tc.kind, tc.part)
				wantClean(t, h)
				return
			}
			if err != nil {
				t.Fatal(err, Hint(err))
			}
			if s.How != HowRelease || s.SHA256 != sum || s.By != tc.by || s.Source != g.URL+"/dl/"+name || s.Size != int64(len(body)) {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestReleaseOnGitHub: github.com/OWNER/REPO is asked by its API, with a token for the bytes of a private repository, too.
func TestReleaseOnGitHub(t *testing.T) {
	body := nodeos("v1.2.2")
	token := filepath.Join(t.TempDir(), "token")
	write(t, token, []byte("s3cret\n"), 0o600)
	for _, source := range []string{"github.com/eos/spring", "https://github.com/eos/spring", "https://www.github.com/eos/spring.git", "https://github.com/eos/spring/releases", "https://github.com/eos/spring/"} {
		g := serveRelease(t)
		g.asset("nodeos", body, "sha256:"+sumOf(body))
		h := home(t, trusting(g.server), func(c *Config) { c.Release = g.URL + "/api/v3" })
		a, err := h.Resolve(t.Context(), Request{Tag: "v1.2.2", Source: source})
		if err != nil || a.Name != "nodeos" || a.SHA256 != sumOf(body) || a.Size != int64(len(body)) || a.By != "release" || a.Source != g.URL+"/dl/nodeos" {
			t.Fatalf("%s: %+v %v", source, a, err)
		}
		if r := g.requests(apiPath); r[0].Header.Get("Authorization") != "" || !strings.Contains(r[0].Header.Get("Accept"), "github") {
			t.Errorf("%v", r[0].Header)
		}
		if _, err := h.Stage(t.Context(), Request{Tag: "v1.2.2", Source: source, TokenFile: token}, nil); err != nil {
			t.Fatal(err)
		}
		if n := g.count("/dl/nodeos"); n != 0 {
			t.Error("the browser's URL does not take a token")
		}
		for _, r := range append(g.requests("/api/v3/repos/eos/spring/releases/assets/nodeos"), g.requests(apiPath)[1:]...) {
			if r.Header.Get("Authorization") != "Bearer s3cret" || strings.Contains(r.URL.Path, "assets") != (r.Header.Get("Accept") == "application/octet-stream") {
				t.Errorf("%s %v", r.URL, r.Header)
			}
		}
	}
	h, err := Open(Config{Dir: t.TempDir(), Version: said})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := h.locate("github.com/AntelopeIO/spring", "v1"); err != nil || p.url.String() != "https://api.github.com" || p.repo != "AntelopeIO/spring" {
		t.Errorf("%+v %v", p, err)
	}
}

// TestForbidden: a server that wants a token, or has had enough.
func TestForbidden(t *testing.T) {
	g := serveRelease(t)
	g.add(apiPath, nil).status = []int{http.StatusForbidden}
	_, err := home(t, trusting(g.server)).Stage(t.Context(), Request{Tag: "v1.2.2", Source: g.URL + "/api/v3/repos/eos/spring"}, nil)
	wantKind(t, err, ErrSource, "403", "token")
}

func TestLocate(t *testing.T) {
	h := bareHome(t, t.TempDir())
	good := map[string]string{
		"file:///opt/{tag}/nodeos-{version}.tar.gz":               "file file:///opt/v1.2.2/nodeos-1.2.2.tar.gz ",
		"file://localhost/opt/../x":                               "file file:///x ",
		"https://example.org/{tag}/n-{os}-{arch}?a=b":             "url https://example.org/v1.2.2/n-linux-amd64?a=b ",
		"http://example.org:81/x":                                 "url http://example.org:81/x ",
		"https://github.com/o/r/releases/download/{tag}/x.deb":    "url https://github.com/o/r/releases/download/v1.2.2/x.deb ",
		"https://ghe.example.org/api/v3/repos/o/r":                "release https://ghe.example.org/api/v3 o/r",
		"https://git.example.org/api/v1/repos/o/r/":               "release https://git.example.org/api/v1 o/r",
		"http://127.0.0.1:1/repos/o/r":                            "release http://127.0.0.1:1/ o/r",
		"github.com/o/r":                                          "release https://api.github.com o/r",
		"https://github.com/AntelopeIO/spring/releases":           "release https://api.github.com AntelopeIO/spring",
		"https://raw.example.org/o/r":                             "url https://raw.example.org/o/r ",
		"https://example.org/repos/{tag}":                         "url https://example.org/repos/v1.2.2 ",
		"https://example.org/a/repos/o/r/releases/{tag}/x.tar.gz": "url https://example.org/a/repos/o/r/releases/v1.2.2/x.tar.gz ",
	}
	for source, want := range good {
		p, err := h.locate(source, "v1.2.2")
		if err := errors.Join(err, CheckSource(source)); err != nil {
			t.Error(err)
			continue
		}
		if got := p.how + " " + p.url.String() + " " + p.repo; got != want {
			t.Errorf("%s: %s", source, got)
		}
	}
	for _, source := range []string{"x", "/opt/x", "file:///", "file:///x/", "file://host/x", "file:x", "ftp://x/y", "https://", "https:///x", "https://example.org", "https://example.org/x/",
		"https://example.org/{what}", "s3://bucket/x", "github.com", "https://exa mple.org/x", "{}"} {
		_, err := h.locate(source, "v1.2.2")
		wantKind(t, err, ErrSource, "a source is")
		wantKind(t, CheckSource(source), ErrSource)
	}
}
