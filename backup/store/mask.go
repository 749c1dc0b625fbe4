package store

import (
	"errors"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
)

const hidden = "***"

// plainParameters of a store's URL hold no secrets.
var plainParameters = []string{
	"region", "endpoint", "s3ForcePathStyle", "use_path_style", "disable_https", "profile", "role", "anonymous", "ssetype", "dualstack",
	"fips", "request_checksum_calculation", "response_checksum_validation", "storage_account", "domain", "protocol", "localemu", "create_dir",
}

// Mask gives a store's URL as it may be shown: without a user's name, a password, or a parameter that is not known to be harmless.
func Mask(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		scheme, _, ok := strings.Cut(raw, "://")
		if !ok {
			return hidden
		}
		return scheme + "://" + hidden
	}
	shown := *u
	shown.User, shown.RawQuery, shown.Fragment = nil, "", ""
	s := shown.String()
	q := u.Query()
	var parts []string
	for name, values := range q {
		for _, v := range values {
			switch {
			case name == "endpoint":
				v = Mask(v)
			case !slices.Contains(plainParameters, name):
				v = hidden
			}
			parts = append(parts, name+"="+v)
		}
	}
	if len(parts) > 0 {
		slices.Sort(parts)
		s += "?" + strings.Join(parts, "&")
	}
	return s
}

// signed are the parts of signed URLs and headers that somebody else could use.
var signed = regexp.MustCompile(`(?i)((?:sig|signature|x-amz-[a-z-]+|x-goog-[a-z-]+|token|accountkey|sharedaccesssignature|authorization|password)["']?[=:]\s*)[^&\s"']+|(://)[^/@\s]+@`)

// maxDetail is how many bytes of what a store said are kept.
const maxDetail = 400

// secrets are texts that no error may hold.
type secrets []string

// secretNames end the names of variables whose values are secrets.
var secretNames = []string{"KEY", "SECRET", "TOKEN", "PASSWORD", "STRING", "KEY_ID"}

// newSecrets collects them from the credentials of a store and from our own environment.
func newSecrets(env []string) secrets {
	var all secrets
	for _, pair := range slices.Concat(env, os.Environ()) {
		name, value, _ := strings.Cut(pair, "=")
		ours := strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "AZURE_") || strings.HasPrefix(name, "GOOGLE_")
		if ours && len(value) >= 4 && slices.ContainsFunc(secretNames, func(end string) bool { return strings.HasSuffix(name, end) }) {
			all = append(all, value)
		}
	}
	return all
}

// mask makes a text of a store or a library one short line without secrets.
func (s secrets) mask(text string) string {
	for _, secret := range s {
		text = strings.ReplaceAll(text, secret, hidden)
	}
	text = signed.ReplaceAllString(text, "${1}${2}"+hidden)
	text = strings.ReplaceAll(text, "://"+hidden, "://") // a user's name and password
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "") + "..."
	}
	return text
}

// masked is an error whose text was masked.
type masked struct {
	text string
	err  error
}

func (m *masked) Error() string { return m.text }

// Is finds what is in it; there is no Unwrap: nobody shall print that.
func (m *masked) Is(target error) bool { return errors.Is(m.err, target) }
