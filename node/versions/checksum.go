package versions

import (
	"bufio"
	"path"
	"regexp"
	"strings"
)

var (
	sumRE  = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
	lineRE = regexp.MustCompile(`^\\?([0-9a-fA-F]{64})(?:[ \t]+\*?(.*))?$`) // sha256sum's
	bsdRE  = regexp.MustCompile(`^SHA256 \((.*)\) = ([0-9a-fA-F]{64})$`)
)

// parseSum reads a SHA-256 as it was asked for: 64 hex digits, "sha256:" before them or not. "" stays "".
func parseSum(s string) (string, error) {
	sum := strings.TrimPrefix(strings.TrimSpace(s), "sha256:")
	if sum == "" {
		return "", nil
	}
	if !sumRE.MatchString(sum) {
		return "", problem(ErrChecksum, "it has 64 hex digits: sha256sum FILE", "%.80q is no SHA-256", s)
	}
	return strings.ToLower(sum), nil
}

// findSum looks for a file's SHA-256 in the text of a checksum file: lines of sha256sum ("HEX  name"), of BSD ("SHA256 (name) =
// HEX"), or one HEX alone. "" where it is not there, or is there twice and not the same.
func findSum(text, name string) string {
	var found []string
	lines, alone := 0, ""
	scan := bufio.NewScanner(strings.NewReader(text))
	for scan.Scan() {
		line := strings.TrimSpace(scan.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		lines++
		var sum, of string
		if m := bsdRE.FindStringSubmatch(line); m != nil {
			sum, of = m[2], m[1]
		} else if m := lineRE.FindStringSubmatch(line); m != nil {
			sum, of = m[1], m[2]
		} else {
			continue
		}
		if sum = strings.ToLower(sum); of == "" {
			alone = sum
		} else if path.Base(of) == name {
			found = append(found, sum)
		}
	}
	if len(found) == 0 && lines == 1 {
		return alone
	}
	for _, f := range found {
		if f != found[0] {
			return ""
		}
	}
	if len(found) == 0 {
		return ""
	}
	return found[0]
}
