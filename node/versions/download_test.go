package versions

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const assetPath = "/v1.2.2/nodeos-1.2.2_linux_amd64"

// source is the URL of assetPath, with placeholders.
func source(s *server) string { return s.URL + "/{tag}/nodeos-{version}_{os}_{arch}" }

func TestURL(t *testing.T) {
	body := random("v1.2.2", 3<<20)
	for _, tls := range []bool{false, true} {
		s := serve(t, tls)
		s.add(assetPath, body)
		h := home(t, trusting(s))
		var last [2]int64
		calls := 0
		got, err := h.Stage(t.Context(), Request{Tag: "v1.2.2", Source: source(s), SHA256: "sha256:" + strings.ToUpper(sumOf(body))}, func(done, total int64, text string) {
			if calls++; text == "fetching" {
				if done < last[0] || total != int64(len(body)) {
					t.Errorf("%d of %d after %d", done, total, last[0])
				}
				last = [2]int64{done, total}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if got.How != HowURL || got.By != "request" || got.SHA256 != sumOf(body) || got.Source != s.URL+assetPath {
			t.Errorf("%+v", got)
		}
		if last[0] != int64(len(body)) || calls < 5 || calls > 1000 {
			t.Errorf("progress: %v in %d calls", last, calls)
		}
		if r := s.requests(assetPath); len(r) != 1 || r[0].Header.Get("Accept-Encoding") != "identity" || r[0].Header.Get("Authorization") != "" {
			t.Errorf("%d requests: %v", len(r), r[0].Header)
		}
		noRest(t, h)
	}
}

func TestChecksumFiles(t *testing.T) {
	body := nodeos("v1.2.2")
	good, bad := sumOf(body), strings.Repeat("0", 64)
	name := "nodeos-1.2.2_linux_amd64"
	t.Run("and no asset either", func(t *testing.T) {
		s := serve(t, false)
		_, err := home(t).Stage(t.Context(), Request{Tag: "v1.2.2", Source: s.URL + "/v1.2.3/nodeos.zip"}, nil)
		wantKind(t, err, ErrMissing, "404", "nodeos.zip")
	})
	cases := []struct {
		name, path, text, checksums, by string
		kind                            error
	}{
		{"beside, alone", assetPath + ".sha256", good + "\n", "", name + ".sha256", nil},
		{"beside, with the name", assetPath + ".sha256sum", good + "  ./dist/" + name + "\n", "", name + ".sha256sum", nil},
		{"all of them", "/v1.2.2/SHA256SUMS", bad + "  other\n" + strings.ToUpper(good) + " *" + name + "\n", "", "SHA256SUMS", nil},
		{"BSD", "/v1.2.2/checksums.txt", "SHA256 (other) = " + bad + "\nSHA256 (" + name + ") = " + good + "\n", "", "checksums.txt", nil},
		{"named", "/v1.2.2/sums-1.2.2", "# sums\n" + good + "  " + name + "\n", "sums-{version}", "sums-1.2.2", nil},
		{"named after the asset", "/v1.2.2/" + name + ".sum", good + "\n", "{asset}.sum", name + ".sum", nil},
		{"named by a URL", "/elsewhere/sums", good + "  " + name + "\n", "URL/elsewhere/sums", "sums", nil},
		{"named, not there", "/v1.2.2/SHA256SUMS", good + "  " + name + "\n", "sums", "", ErrMissing},
		{"none", "/v1.2.2/README", "", "", "", ErrNoChecksum},
		{"not in it", "/v1.2.2/SHA256SUMS", good + "  other\n", "", "", ErrNoChecksum},
		{"another's alone", assetPath + ".sha256", good + "  other\n", "", "", ErrNoChecksum},
		{"twice, not the same", "/v1.2.2/SHA256SUMS", good + "  " + name + "\n" + bad + "  a/" + name + "\n", "", "", ErrNoChecksum},
		{"wrong", "/v1.2.2/SHA256SUMS", bad + "  " + name + "\n", "", "", ErrChecksum},
		{"not a URL that is known", "/x", "", "ftp://x/sums", "", ErrSource},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, false)
			s.add(assetPath, body)
			s.add(tc.path, []byte(tc.text))
			h := home(t)
			req := Request{Tag: "v1.2.2", Source: source(s), Checksums: strings.Replace(tc.checksums, "URL", s.URL, 1)}
			a, resolved := h.Resolve(t.Context(), req)
			got, err := h.Stage(t.Context(), req, nil)
			if tc.kind != nil {
				wantKind(t, err, tc.kind)
				wantClean(t, h)
				whole := slices.ContainsFunc(s.requests(assetPath), func(r *http.Request) bool { return r.Header.Get("Range") != "bytes=0-0" })
				if whole != errors.Is(err, ErrChecksum) {
					t.Errorf("fetched: %v", whole)
				}
				return
			}
			if err != nil || resolved != nil || got.By != tc.by || got.SHA256 != good || a.SHA256 != good || a.By != tc.by {
				t.Errorf("%+v %v, %+v %v", got, err, a, resolved)
			}
		})
	}
	t.Run("a file's", func(t *testing.T) {
		h := home(t)
		req := put(t, "nodeos", body)
		req.SHA256 = ""
		_, err := h.Stage(t.Context(), req, nil)
		wantKind(t, err, ErrNoChecksum, "sha256sum FILE")
		write(t, strings.TrimPrefix(req.Source, "file://")+".sha256", []byte(good+"  nodeos\n"), 0o644)
		if got, err := h.Stage(t.Context(), req, nil); err != nil || got.By != "nodeos.sha256" || got.How != HowFile {
			t.Errorf("%+v %v", got, err)
		}
	})
	t.Run("asked for in no form", func(t *testing.T) {
		h := home(t)
		req := put(t, "nodeos", body)
		req.SHA256 = "abc"
		_, err := h.Stage(t.Context(), req, nil)
		wantKind(t, err, ErrChecksum, "64 hex digits")
	})
}

// TestFails: what is not there or not right, and that nothing is kept of it.
func TestFails(t *testing.T) {
	body := nodeos("v1.2.2")
	cases := []struct {
		name   string
		status []int
		tries  int // further ones
		asked  int
		kind   error
	}{
		{"404", []int{404, 404}, 3, 1, ErrMissing},
		{"410", []int{410}, 3, 1, ErrMissing},
		{"401", []int{401}, 3, 1, ErrSource},
		{"403", []int{403}, 3, 1, ErrSource},
		{"204", []int{204}, 3, 1, ErrSource},
		{"503 for good", []int{503, 503, 503}, 2, 3, ErrConnection},
		{"503 for a while", []int{503, 429}, 2, 3, nil},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, false)
			s.add(assetPath, body).status = tc.status
			h := home(t)
			_, err := h.Stage(t.Context(), Request{Tag: "v1.2.2", Source: source(s), SHA256: sumOf(body), ConnectionRetries: tc.tries}, nil)
			if n := s.count(assetPath); n != tc.asked {
				t.Errorf("asked %d times", n)
			}
			if tc.kind == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantKind(t, err, tc.kind)
			wantClean(t, h)
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		s := serve(t, false)
		s.Close()
		h := home(t)
		var pauses []time.Duration
		h.pause = func(_ context.Context, d time.Duration) error { pauses = append(pauses, d); return nil }
		_, err := h.Stage(t.Context(), Request{Tag: "v1.2.2", Source: source(s), SHA256: sumOf(body), ConnectionRetries: 7}, nil)
		wantKind(t, err, ErrConnection, "refused")
		want := []time.Duration{1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second}
		if !slices.Equal(pauses, want) {
			t.Errorf("%v", pauses)
		}
	})
	t.Run("wrong checksum", func(t *testing.T) {
		s := serve(t, false)
		s.add(assetPath, body)
		h := home(t)
		_, err := h.Stage(t.Context(), Request{Tag: "v1.2.2", Source: source(s), SHA256: strings.Repeat("1", 64)}, nil)
		wantKind(t, err, ErrChecksum, sumOf(body), "says the request", "nothing was kept")
		wantClean(t, h)
		if n := s.count(assetPath); n != 1 {
			t.Errorf("fetched %d times", n)
		}
	})
	t.Run("no source", func(t *testing.T) {
		h := home(t)
		_, err := h.Stage(t.Context(), Request{Tag: "v1.2.2"}, nil)
		wantKind(t, err, ErrMissing, "put the folder there")
		_, err = h.Stage(t.Context(), Request{Tag: "../x"}, nil)
		wantKind(t, err, ErrTag)
		_, err = h.Resolve(t.Context(), Request{Tag: "v1.2.2"})
		wantKind(t, err, ErrMissing)
		_, err = bareHome(t, t.TempDir()).Stage(t.Context(), Request{Tag: Genesis, Source: "file:///x"}, nil)
		wantKind(t, err, ErrUnknown)
	})
	t.Run("no file", func(t *testing.T) {
		h := home(t)
		for _, req := range []Request{
			{Tag: "v1.2.2", Source: "file://" + t.TempDir() + "/nodeos", SHA256: sumOf(body)},
			{Tag: "v1.2.2", Source: "file://" + t.TempDir() + "/nodeos"},
		} {
			_, err := h.Stage(t.Context(), req, nil)
			wantKind(t, err, ErrMissing, "there is no")
		}
		_, err := h.Stage(t.Context(), Request{Tag: "v1.2.2", Source: "file://" + t.TempDir(), SHA256: sumOf(body)}, nil)
		wantKind(t, err, ErrSource, "not a file")
	})
}

// TestCutOff: a connection that ends early is taken up where it ended, by this try or by another process.
func TestCutOff(t *testing.T) {
	body := random("v1.2.2", 2<<20)
	ranges := func(s *server) (list []string) {
		for _, r := range s.requests(assetPath) {
			list = append(list, r.Header.Get("Range"))
		}
		return list
	}
	t.Run("within one Stage", func(t *testing.T) {
		s := serve(t, false)
		s.add(assetPath, body).cut = []int{1 << 20, 1 << 19}
		h := home(t)
		if _, err := h.Stage(t.Context(), Request{Tag: "v1.2.2", Source: source(s), SHA256: sumOf(body), ConnectionRetries: 1}, nil); err != nil {
			t.Fatal(err) // two cuts, but each came further: one retry is enough
		}
		got := ranges(s)
		if len(got) != 3 || got[0] != "" || !strings.HasPrefix(got[1], "bytes=") || s.requests(assetPath)[1].Header.Get("If-Range") == "" {
			t.Errorf("%q", got)
		}
		noRest(t, h)
	})
	t.Run("not further", func(t *testing.T) {
		s := serve(t, false)
		f := s.add(assetPath, body)
		f.cut = []int{0, 0, 0, 0}
		f.handle = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		h := home(t)
		_, err := h.Stage(t.Context(), Request{Tag: "v1.2.2", Source: source(s), SHA256: sumOf(body), ConnectionRetries: 2}, nil)
		wantKind(t, err, ErrConnection, "a repeat goes on")
		if n := s.count(assetPath); n != 3 {
			t.Errorf("asked %d times", n)
		}
	})
	again := []struct {
		name    string
		modify  func(s *server, f *served, h *Home)
		resumes bool // the second Stage asks for the rest only
		anew    bool // and all of it must be fetched in the end
	}{
		{"by another process", func(*server, *served, *Home) {}, true, false},
		{"another asset, the same checksum", func(s *server, f *served, _ *Home) {
			s.change(f, func(f *served) { f.etag = `"other"` })
		}, true, true},
		{"a torn part", func(_ *server, _ *served, h *Home) {
			part := filepath.Join(h.downloads("v1.2.2"), partName)
			b, err := os.ReadFile(part)
			if err == nil {
				b[len(b)/2] ^= 1
				err = os.WriteFile(part, b, 0o600)
			}
			if err != nil {
				t.Error(err)
			}
		}, true, true},
		{"no note", func(_ *server, _ *served, h *Home) { _ = os.Remove(filepath.Join(h.downloads("v1.2.2"), noteName)) }, false, true},
		{"a broken note", func(_ *server, _ *served, h *Home) {
			_ = os.WriteFile(filepath.Join(h.downloads("v1.2.2"), noteName), []byte("{"), 0o600)
		}, false, true},
	}
	for _, tc := range again {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, false)
			f := s.add(assetPath, body)
			f.cut = []int{1 << 20}
			h := home(t)
			req := Request{Tag: "v1.2.2", Source: source(s), SHA256: sumOf(body)}
			_, err := h.Stage(t.Context(), req, nil)
			wantKind(t, err, ErrConnection)
			if info, err := os.Stat(filepath.Join(h.downloads("v1.2.2"), partName)); err != nil || info.Size() == 0 {
				t.Fatal("the part is gone", err)
			}
			tc.modify(s, f, h)
			if err := h.Ensure(); err != nil { // as a manager that starts
				t.Fatal(err)
			}
			if _, err := bareHome(t, h.dir).Stage(t.Context(), req, nil); err != nil {
				t.Fatal(err)
			}
			if got := ranges(s)[1:]; (got[0] != "") != tc.resumes || tc.resumes && !tc.anew && len(got) != 1 {
				t.Errorf("%q", got)
			}
			noRest(t, h)
		})
	}
	t.Run("without a validator it begins anew", func(t *testing.T) {
		s := serve(t, false)
		f := s.add(assetPath, body)
		f.cut, f.etag = []int{1 << 20}, `W/"weak"`
		h := home(t)
		if _, err := h.Stage(t.Context(), Request{Tag: "v1.2.2", Source: source(s), SHA256: sumOf(body), ConnectionRetries: 1}, nil); err != nil {
			t.Fatal(err)
		}
		if got := ranges(s); !slices.Equal(got, []string{"", ""}) {
			t.Errorf("%q", got)
		}
	})
	t.Run("by its date", func(t *testing.T) {
		s := serve(t, false)
		f := s.add(assetPath, body)
		f.cut, f.etag, f.modified = []int{1 << 20}, "", time.Unix(1e9, 0)
		h := home(t)
		if _, err := h.Stage(t.Context(), Request{Tag: "v1.2.2", Source: source(s), SHA256: sumOf(body), ConnectionRetries: 1}, nil); err != nil {
			t.Fatal(err)
		}
		if got := ranges(s); len(got) != 2 || got[1] == "" {
			t.Errorf("%q", got)
		}
	})
	t.Run("a server that answers with another part", func(t *testing.T) {
		for _, answer := range []string{"bytes 5-9/10", "nonsense", ""} {
			s := serve(t, false)
			f := s.add(assetPath, body)
			f.cut = []int{1 << 20}
			h := home(t)
			req := Request{Tag: "v1.2.2", Source: source(s), SHA256: sumOf(body)}
			_, err := h.Stage(t.Context(), req, nil)
			wantKind(t, err, ErrConnection)
			s.change(f, func(f *served) {
				f.handle = func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Range") == "" {
						_, _ = w.Write(body)
						return
					}
					w.Header().Set("Content-Range", answer)
					w.WriteHeader(http.StatusPartialContent)
					_, _ = w.Write([]byte("evil!"))
				}
			})
			req.ConnectionRetries = 1
			if _, err := h.Stage(t.Context(), req, nil); err != nil {
				t.Fatalf("%q: %v", answer, err)
			}
		}
	})
	t.Run("a server that has less", func(t *testing.T) {
		s := serve(t, false)
		f := s.add(assetPath, body)
		f.cut = []int{1 << 20}
		h := home(t)
		req := Request{Tag: "v1.2.2", Source: source(s), SHA256: sumOf(body)}
		_, err := h.Stage(t.Context(), req, nil)
		wantKind(t, err, ErrConnection)
		s.change(f, func(f *served) { f.status = []int{http.StatusRequestedRangeNotSatisfiable} })
		req.ConnectionRetries = 1
		if _, err := h.Stage(t.Context(), req, nil); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("another checksum is asked for", func(t *testing.T) {
		other := random("v1.2.2", 1<<20)
		s := serve(t, false)
		f := s.add(assetPath, body)
		f.cut = []int{1 << 20}
		h := home(t)
		_, err := h.Stage(t.Context(), Request{Tag: "v1.2.2", Source: source(s), SHA256: sumOf(body)}, nil)
		wantKind(t, err, ErrConnection)
		s.change(f, func(f *served) { f.body = other })
		if _, err := h.Stage(t.Context(), Request{Tag: "v1.2.2", Source: source(s), SHA256: sumOf(other)}, nil); err != nil {
			t.Fatal(err)
		}
		if got := ranges(s); !slices.Equal(got, []string{"", ""}) {
			t.Errorf("%q", got)
		}
	})
}

// TestWholePart: only what comes after the download was cut off, so nothing is fetched again.
func TestWholePart(t *testing.T) {
	body := random("v1.2.2", 1<<20)
	s := serve(t, false)
	s.add(assetPath, body)
	h := home(t)
	req := Request{Tag: "v1.2.2", Source: source(s), SHA256: sumOf(body)}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := h.Stage(ctx, req, func(_, _ int64, text string) {
		if text == "unpacking" {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := h.Load("v1.2.2"); err == nil {
		t.Error("half of it is there")
	}
	if _, err := h.Stage(t.Context(), req, nil); err != nil {
		t.Fatal(err)
	}
	if n := s.count(assetPath); n != 1 {
		t.Errorf("fetched %d times", n)
	}
	noRest(t, h)
}

func TestStall(t *testing.T) {
	body := random("v1.2.2", 100_000)
	quick := func(c *Config) { c.Stall = 200 * time.Millisecond }
	t.Run("in the asset", func(t *testing.T) {
		s := serve(t, false)
		s.add(assetPath, body).stall = true
		_, err := home(t, quick).Stage(t.Context(), Request{Tag: "v1.2.2", Source: source(s), SHA256: sumOf(body)}, nil)
		wantKind(t, err, ErrStalled, "not a byte for 200ms")
	})
	t.Run("before the first byte, and it is tried again", func(t *testing.T) {
		s := serve(t, false)
		s.add(assetPath, body).handle = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		_, err := home(t, quick).Stage(t.Context(), Request{Tag: "v1.2.2", Source: source(s), SHA256: sumOf(body), ConnectionRetries: 1}, nil)
		wantKind(t, err, ErrStalled)
		if n := s.count(assetPath); n != 2 {
			t.Errorf("asked %d times", n)
		}
	})
	t.Run("in a checksum file", func(t *testing.T) {
		s := serve(t, false)
		s.add(assetPath+".sha256", body).stall = true
		_, err := home(t, quick).Stage(t.Context(), Request{Tag: "v1.2.2", Source: source(s)}, nil)
		wantKind(t, err, ErrStalled)
	})
	t.Run("a caller that gives up", func(t *testing.T) {
		s := serve(t, false)
		f := s.add(assetPath, body)
		ctx, cancel := context.WithCancel(t.Context())
		f.handle = func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() }
		_, err := home(t).Stage(ctx, Request{Tag: "v1.2.2", Source: source(s), SHA256: sumOf(body), ConnectionRetries: 9}, nil)
		if !errors.Is(err, context.Canceled) || errors.Is(err, ErrConnection) {
			t.Errorf("%v", err)
		}
	})
}

func TestRedirects(t *testing.T) {
	body := nodeos("v1.2.2")
	plain, first, second := serve(t, false), serve(t, true), serve(t, true)
	plain.add(assetPath, body)
	second.add(assetPath, body)
	token := filepath.Join(t.TempDir(), "token")
	write(t, token, []byte("s3cret\n"), 0o600)
	req := Request{Tag: "v1.2.2", Source: source(first), SHA256: sumOf(body), TokenFile: token}

	first.add(assetPath, nil).handle = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL+assetPath, http.StatusFound)
	}
	_, err := home(t, trusting(first)).Stage(t.Context(), req, nil)
	wantKind(t, err, ErrSource, "from https to http")
	if plain.count(assetPath) != 0 {
		t.Error("it was followed")
	}

	first.add(assetPath, nil).handle = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, second.URL+assetPath, http.StatusFound)
	}
	if _, err := home(t, trusting(first)).Stage(t.Context(), req, nil); err != nil {
		t.Fatal(err)
	}
	if got := first.requests(assetPath)[0].Header.Get("Authorization"); got != "Bearer s3cret" {
		t.Errorf("the source got %q", got)
	}
	if got := second.requests(assetPath)[0].Header.Get("Authorization"); got != "" {
		t.Errorf("somebody else got %q", got)
	}

	first.add(assetPath, nil).handle = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, first.URL+assetPath, http.StatusFound)
	}
	_, err = home(t, trusting(first)).Stage(t.Context(), req, nil)
	wantKind(t, err, ErrSource, "on and on")
	_, err = home(t).Stage(t.Context(), req, nil)
	wantKind(t, err, ErrSource, "is not trusted", "CA")
}

// TestNoSecrets: neither the token nor what a URL hides comes out.
func TestNoSecrets(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	write(t, token, []byte("s3cret"), 0o600)
	s := serve(t, false)
	s.Close()
	host := strings.TrimPrefix(s.URL, "http://")
	for _, src := range []string{"http://u:s3cret@" + host + "/nodeos?X-Signature=s3cret#s3cret", "http://u:s3cret@" + host + "/%zz?s3cret", "ftp://u:s3cret@x/y", "http://u:s3cret@[/", "http://s3cret@" + host + "/{x}?s3cret", "https://u:s3cret@" + host + "/api/v3/repos/o/r?s3cret"} {
		for _, file := range []string{"", token} {
			_, err := home(t).Stage(t.Context(), Request{Tag: "v1.2.2", Source: src, SHA256: sumOf(nil), TokenFile: file}, nil)
			if err == nil || Hint(err) == "" {
				t.Fatalf("%s: %v", src, err)
			}
			if text := fmt.Sprintf("%v %+v %s", err, err, Hint(err)); strings.Contains(text, "s3cret") {
				t.Errorf("%s: %s", src, text)
			}
		}
	}
	_, err := home(t).Stage(t.Context(), Request{Tag: "v1.2.2", Source: "http://example.org/x", SHA256: sumOf(nil), TokenFile: token}, nil)
	wantKind(t, err, ErrSource, "is not sent", "https://")
	for _, bad := range []string{"", "two\nlines", "sp ace"} {
		write(t, token, []byte(bad), 0o600)
		_, err := home(t).Stage(t.Context(), Request{Tag: "v1.2.2", Source: "https://example.org/x", SHA256: sumOf(nil), TokenFile: token}, nil)
		wantKind(t, err, ErrSource, "holds no token")
	}
	_, err = home(t).Stage(t.Context(), Request{Tag: "v1.2.2", Source: "https://example.org/x", SHA256: sumOf(nil), TokenFile: token + "x"}, nil)
	wantKind(t, err, ErrSource, "the token")
}
