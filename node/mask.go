package node

import (
	"regexp"
	"strings"
)

// secrets matches what must never be kept: the private part of a signature-provider, a PVT_ key, a bare WIF key (51
// characters; shorter ones too, since a long line is cut anywhere).
var secrets = regexp.MustCompile(`KEY:[^\s"',\]}]+|PVT_[A-Z0-9]+_[A-Za-z0-9_\-+/=]+|\b5[HJK][1-9A-HJ-NP-Za-km-z]{20,}`)

// options begins the line with all that nodeos was started with. It masks private keys in it, and nothing else: not what an
// operator gave it by node.args, which may be secret.
const options = "Non-default options: "

// Mask replaces private keys in text of nodeos' by ***, and all of its options. nodeos prints a signature-provider that
// fails to parse or match in full (FACT 6, recording 03-errors/a.06).
func Mask(s string) string {
	if before, _, found := strings.Cut(s, options); found {
		return before + options + "***"
	}
	if !strings.Contains(s, "KEY:") && !strings.Contains(s, "PVT_") &&
		!strings.Contains(s, "5H") && !strings.Contains(s, "5J") && !strings.Contains(s, "5K") {
		return s
	}
	return secrets.ReplaceAllStringFunc(s, func(m string) string {
		if strings.HasPrefix(m, "KEY:") {
			return "KEY:***"
		}
		return "***"
	})
}
