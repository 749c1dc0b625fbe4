package versions

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"path"
	"strings"
)

// releaseAsset is a file of a release, as the API of GitHub and of those like it describes it.
type releaseAsset struct {
	Name    string `json:"name"`
	URL     string `json:"url"`                  // gives bytes to whoever asks for them, also of a private repository
	Browser string `json:"browser_download_url"` // gives them without being asked
	Digest  string `json:"digest"`               // "sha256:..."; older servers give none
	Size    int64  `json:"size"`

	url *url.URL // the one to use
	raw bool     // it is URL
}

func (r releaseAsset) asset() Asset {
	a := Asset{Name: r.Name, Size: r.Size, How: HowRelease, url: r.url, raw: r.raw}
	if sum, err := parseSum(r.Digest); err == nil && sum != "" {
		a.SHA256, a.By = sum, "release"
	}
	return a
}

// release asks for the release of the tag, chooses an asset of it, and gives all of them, too.
func (h *Home) release(ctx context.Context, c *client, p place, req Request) (Asset, []releaseAsset, error) {
	api := *p.url
	api.Path = path.Join("/", p.url.Path, "repos", p.repo, "releases", "tags", req.Tag)
	text, err := c.small(ctx, Asset{How: HowRelease, url: &api})
	if errors.Is(err, ErrMissing) {
		return Asset{}, nil, problem(ErrMissing, "look at the releases of "+p.repo+": the tag must be written as there; a private repository wants a token",
			"%s has no release %s", p.repo, req.Tag).because(err)
	}
	if err != nil {
		return Asset{}, nil, err
	}
	var r struct {
		Assets []releaseAsset `json:"assets"`
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return Asset{}, nil, problem(ErrSource, sourceHint, "%s does not answer as a release's API does", shown(api.String())).because(err)
	}
	var usable []releaseAsset
	for _, a := range r.Assets {
		link := a.Browser
		if c.token != "" && strings.HasPrefix(a.URL, origin(p.url)+"/") {
			link, a.raw = a.URL, true
		}
		if a.url, err = url.Parse(link); err == nil && (a.url.Scheme == "https" || a.url.Scheme == "http") && a.Name != "" {
			usable = append(usable, a)
		}
	}
	chosen, err := choose(usable, fill(req.Asset, req.Tag, h.cfg.OS, h.cfg.Arch))
	if err != nil {
		return Asset{}, nil, err
	}
	return chosen.asset(), usable, nil
}

// beside are endings of files that say something about an asset.
var besideEndings = []string{".sha256", ".sha256sum", ".sha512", ".md5", ".asc", ".sig", ".minisig", ".pem", ".txt", ".json"}

// choose takes the one asset whose name matches the pattern; without a pattern, the only one that may be a version.
func choose(assets []releaseAsset, pattern string) (releaseAsset, error) {
	var names, fit []string
	var chosen releaseAsset
	if err := CheckAsset(pattern); err != nil {
		return chosen, err
	}
	for _, a := range assets {
		names = append(names, a.Name)
		ok := pattern == a.Name
		if !ok {
			about := strings.HasPrefix(strings.ToUpper(a.Name), "SHA256SUM")
			for _, e := range besideEndings {
				about = about || strings.HasSuffix(a.Name, e)
			}
			var err error
			if ok, err = path.Match(pattern, a.Name); err != nil {
				return chosen, CheckAsset(pattern)
			}
			ok = !about && (ok || pattern == "")
		}
		if ok {
			fit = append(fit, a.Name)
			chosen = a
		}
	}
	list := strings.Join(names[:min(len(names), 20)], ", ")
	switch {
	case len(assets) == 0:
		return chosen, problem(ErrMissing, "look at the release: its files may still be uploaded", "the release has no assets")
	case len(fit) == 0:
		return chosen, problem(ErrMissing, "name one by a pattern; it has: "+list, "no asset of the release matches %q", pattern)
	case len(fit) > 1:
		return chosen, problem(ErrSource, "name one of them by a narrower pattern", "%d assets of the release fit: %s", len(fit), strings.Join(fit[:min(len(fit), 20)], ", "))
	}
	return chosen, nil
}

// origin is the scheme and host of a URL.
func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }
