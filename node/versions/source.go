package versions

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// How a version came in.
const (
	HowFolder  = "folder"  // it was there
	HowFile    = "file"    // file://
	HowURL     = "url"     // http:// or https://
	HowRelease = "release" // an asset of a release
)

// Asset is the one file that holds a version.
type Asset struct {
	Name   string // of the file
	Source string // where it is, without passwords and queries: for people
	SHA256 string // 64 hex digits
	By     string // who says so: "request", "release", or the name of a checksum file
	Size   int64  // bytes; 0: not known before it is fetched
	How    string

	url *url.URL // of scheme file, http or https
	raw bool     // an API gives the file only if it is asked for bytes
}

// place is a source with a tag put in.
type place struct {
	how  string
	url  *url.URL // the asset; of a release the API's base
	repo string   // "OWNER/REPO" of a release
}

const sourceHint = "a source is file:///FOLDER/nodeos-{version}.tar.gz, https://HOST/{tag}/nodeos-{arch}.deb, github.com/OWNER/REPO or https://HOST/api/v3/repos/OWNER/REPO; {tag}, {version}, {os} and {arch} are filled in"

// locate reads a source.
func (h *Home) locate(source, tag string) (place, error) {
	filled := fill(source, tag, h.cfg.OS, h.cfg.Arch)
	bad := func(why string) (place, error) {
		return place{}, problem(ErrSource, sourceHint, "the source %q %s", shown(source), why)
	}
	if strings.ContainsAny(filled, "{}") {
		return bad("has a placeholder that is not known")
	}
	if !strings.Contains(filled, "://") {
		if !strings.HasPrefix(filled, "github.com/") {
			return bad("is of no kind that is known")
		}
		filled = "https://" + filled
	}
	u, err := url.Parse(filled)
	if err != nil {
		return bad("is no URL") // its text may hold a password
	}
	parts := strings.Split(strings.Trim(strings.TrimSuffix(u.Path, ".git"), "/"), "/")
	n := len(parts)
	switch u.Scheme {
	case "file":
		if u.Host != "" && u.Host != "localhost" || !filepath.IsAbs(u.Path) || strings.HasSuffix(u.Path, "/") {
			return bad("is no full path of a file")
		}
		return place{how: HowFile, url: &url.URL{Scheme: "file", Path: filepath.Clean(u.Path)}}, nil
	case "http", "https":
		switch {
		case u.Host == "":
			return bad("names no host")
		case strings.TrimPrefix(u.Host, "www.") == "github.com" && (n == 2 || n == 3 && parts[2] == "releases") && parts[0] != "":
			base, err := url.Parse(h.cfg.Release)
			if err != nil {
				return bad("has no API")
			}
			return place{how: HowRelease, url: base, repo: parts[0] + "/" + parts[1]}, nil
		case n >= 3 && parts[n-3] == "repos":
			base := *u
			base.Path, base.RawPath, base.RawQuery, base.Fragment = "/"+strings.Join(parts[:n-3], "/"), "", "", ""
			return place{how: HowRelease, url: &base, repo: parts[n-2] + "/" + parts[n-1]}, nil
		case u.Path == "" || strings.HasSuffix(u.Path, "/"):
			return bad("names no file")
		}
		return place{how: HowURL, url: u}, nil
	}
	return bad("is of no kind that is known")
}

// resolve finds the asset of a request, and which checksum it must have.
func (h *Home) resolve(ctx context.Context, c *client, req Request) (Asset, error) {
	p, err := h.locate(req.Source, req.Tag)
	if err != nil {
		return Asset{}, err
	}
	var a Asset
	var beside []releaseAsset // what lies beside the asset, where that is known
	if p.how == HowRelease {
		if a, beside, err = h.release(ctx, c, p, req); err != nil {
			return a, err
		}
	} else {
		a = Asset{Name: path.Base(p.url.Path), How: p.how, url: p.url}
		if err := exists(a); err != nil {
			return a, err
		}
	}
	a.Source = shown(a.url.String())
	want, err := parseSum(req.SHA256)
	switch {
	case err != nil:
		return a, err
	case want != "" && a.SHA256 != "" && want != a.SHA256:
		return a, problem(ErrChecksum, "one of the two is about another file: look at the release", "%s has SHA-256 %s says the release, and %s was asked for", a.Source, a.SHA256, want)
	case want != "":
		a.SHA256, a.By = want, "request"
	case a.SHA256 == "":
		a.SHA256, a.By, err = h.published(ctx, c, a, beside, req)
	}
	return a, err
}

// exists looks whether a local asset is there.
func exists(a Asset) error {
	if a.How != HowFile {
		return nil // the download says so
	}
	info, err := os.Stat(a.url.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return problem(ErrMissing, "put the file there, on every member", "there is no %s", a.url.Path)
	case err != nil:
		return problem(ErrSource, "the user that runs roundtable must be able to read it", "%s", a.url.Path).because(err)
	case !info.Mode().IsRegular():
		return problem(ErrSource, sourceHint, "%s is not a file", a.url.Path)
	}
	return nil
}

// published looks for the asset's checksum in a file beside it, or in the one that the request names.
func (h *Home) published(ctx context.Context, c *client, a Asset, beside []releaseAsset, req Request) (sum, by string, err error) {
	var tried []string
	for _, from := range h.checksumFiles(a, beside, req) {
		tried = append(tried, path.Base(from.url.Path))
		text, err := c.small(ctx, from)
		if errors.Is(err, ErrMissing) && req.Checksums == "" {
			continue
		}
		if err != nil {
			return "", "", err
		}
		if sum := findSum(string(text), a.Name); sum != "" {
			return sum, path.Base(from.url.Path), nil
		}
	}
	if err := c.there(ctx, a); err != nil { // a mistyped tag is not about checksums
		return "", "", err
	}
	hint := "name the asset's SHA-256 (sha256sum FILE), or the file that has it"
	if len(tried) == 0 {
		return "", "", problem(ErrNoChecksum, hint, "nothing beside %s says which SHA-256 it must have", a.Source)
	}
	return "", "", problem(ErrNoChecksum, hint, "no SHA-256 of %s in %s", a.Source, strings.Join(tried, ", "))
}

// sumNames are files that may hold an asset's checksum; %s is the asset.
var sumNames = []string{"%s.sha256", "%s.sha256sum", "SHA256SUMS", "SHA256SUMS.txt", "sha256sums.txt", "sha256sum.txt", "checksums.txt"}

// checksumFiles are the ones to look into, in order.
func (h *Home) checksumFiles(a Asset, beside []releaseAsset, req Request) []Asset {
	var names []string
	if req.Checksums != "" {
		name := fill(strings.ReplaceAll(req.Checksums, "{asset}", a.Name), req.Tag, h.cfg.OS, h.cfg.Arch)
		if u, err := url.Parse(name); err == nil && u.IsAbs() {
			return []Asset{{Name: path.Base(u.Path), How: HowURL, url: u}}
		}
		names = []string{name}
	} else {
		for _, n := range sumNames {
			names = append(names, strings.ReplaceAll(n, "%s", a.Name))
		}
	}
	var list []Asset
	if a.How == HowRelease {
		for _, n := range names {
			i := slices.IndexFunc(beside, func(r releaseAsset) bool {
				ok, _ := path.Match(n, r.Name)
				return ok || strings.EqualFold(n, r.Name)
			})
			if i >= 0 {
				list = append(list, beside[i].asset())
			}
		}
		return list
	}
	for _, n := range names {
		u := *a.url
		u.Path, u.RawPath = path.Join(path.Dir(u.Path), n), ""
		list = append(list, Asset{Name: n, How: a.How, url: &u})
	}
	return list
}

// shown is a URL for people: without user, password, query and fragment, which may be secrets.
func shown(s string) string {
	s, _, _ = strings.Cut(s, "?")
	s, _, _ = strings.Cut(s, "#")
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		host, p, _ := strings.Cut(rest, "/")
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			host = host[i+1:]
		}
		s = scheme + "://" + host
		if p != "" {
			s += "/" + p
		}
	}
	return s
}
