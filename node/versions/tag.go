package versions

import (
	"regexp"
	"strings"
)

// Genesis is the first version of every home: what config.toml's node.path says.
const Genesis = "genesis"

// maxTag bounds a tag in bytes: it is a folder's name, and part of others.
const maxTag = 64

var (
	tagRE    = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._+-]*$`)
	commitRE = regexp.MustCompile(`-[0-9a-f]{8,40}$`)
)

// CheckTag refuses what cannot be the name of a version's folder: letters, digits and . _ + - only, at most 64 of them, and
// a letter or digit first.
func CheckTag(tag string) error {
	if len(tag) > maxTag || !tagRE.MatchString(tag) {
		return problem(ErrTag, "a tag looks like v1.2.2: at most 64 letters, digits and . _ + - with a letter or digit first", "%.80q is no tag of a version", tag)
	}
	return nil
}

// plain is a version without what does not count in a comparison: the leading v, a commit (v1.2.2-04bdb089), and what
// semantic versioning calls build metadata (v1.2.2+tuned).
func plain(version string) string {
	version = strings.TrimPrefix(strings.TrimSpace(version), "v")
	version, _, _ = strings.Cut(version, "+")
	return commitRE.ReplaceAllString(version, "")
}

// same reports whether a binary that calls itself said is the version of the tag.
func same(said, tag string) bool { return plain(said) == plain(tag) }

// fill puts a version into a source, an asset's pattern or the like: {tag}, {version} (the tag without v), {os}, {arch}.
func fill(pattern, tag, system, arch string) string {
	return strings.NewReplacer("{tag}", tag, "{version}", strings.TrimPrefix(tag, "v"), "{os}", system, "{arch}", arch).Replace(pattern)
}
