package store

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// parameters are what a URL may have behind its question mark, by its scheme.
var parameters = map[string][]string{
	"file": {"create_dir"},
	"s3": {
		"region", "endpoint", "s3ForcePathStyle", "use_path_style", "profile", "role", "anonymous", "ssetype", "kmskeyid", "dualstack", "fips",
		"hostname_immutable", "rate_limiter_capacity", "request_checksum_calculation", "response_checksum_validation", "awssdk",
	},
	"gs":     {"endpoint", "anonymous"},
	"azblob": {"storage_account", "domain", "protocol", "localemu"},
}

// switches are those that are true or false.
var switches = []string{"create_dir", "s3ForcePathStyle", "use_path_style", "anonymous", "dualstack", "fips", "hostname_immutable", "localemu"}

// CheckURL says what is wrong with the URL of a store, as far as that can be seen without the network, a disk or credentials. Open refuses
// the same. The error is a *Problem, without a secret.
func CheckURL(raw string) error {
	_, _, err := parse(raw)
	return err
}

// parse reads the URL of a store, and what the name of each object there begins with.
func parse(raw string) (u *url.URL, prefix string, err error) {
	wrong := func(format string, args ...any) (*url.URL, string, error) {
		return nil, "", problem(BadURL, fmt.Errorf(format, args...), "%s", Mask(raw))
	}
	u, err = url.Parse(raw)
	if err != nil {
		return nil, "", problem(BadURL, nil, "%s", Mask(raw)) // what Parse says holds the URL
	}
	if u.User != nil {
		p := problem(BadURL, nil, "%s", Mask(raw))
		p.Hint = "credentials do not belong into a URL, which many may read: put them into the repository's file of credentials"
		return nil, "", p
	}
	known, ok := parameters[u.Scheme]
	if !ok {
		return wrong("no store has the scheme %.20q", u.Scheme)
	}
	if u.Scheme == "file" {
		if _, err := folderOf(u); err != nil {
			return wrong("%w", err)
		}
	} else {
		if u.Host == "" {
			return wrong("it names no bucket")
		}
		if prefix, err = prefixOf(u); err != nil {
			return wrong("%w", err)
		}
	}
	if u.Fragment != "" {
		return wrong("what stands behind # would be lost")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return wrong("what stands behind ? is not NAME=VALUE&NAME=VALUE")
	}
	for name, values := range q {
		if !slices.Contains(known, name) {
			return wrong("%s:// knows no parameter %.40q, but %s", u.Scheme, name, strings.Join(known, ", "))
		}
		if _, err := strconv.ParseBool(values[0]); err != nil && slices.Contains(switches, name) {
			return wrong("%s is true or false", name)
		}
	}
	if err := checkEndpoint(q.Get("endpoint")); err != nil {
		return wrong("%w", err)
	}
	return u, prefix, nil
}
