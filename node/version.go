package node

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Version is what `nodeos --full-version` prints: v1.2.2-04bdb089edc7e3c3f954e0aab4a7f3cb48635788 (a-versions).
type Version struct {
	Major, Minor, Patch int
	Pre                 string // "rc1", "" for a release
	Commit              string // 40 hex digits, "" if only --version was asked
}

var versionRE = regexp.MustCompile(`^v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})((?:-[0-9A-Za-z.]+)*)$`)
var commitRE = regexp.MustCompile(`^[0-9a-f]{8,40}$`)

// ParseVersion reads the output of --version or --full-version, or a tag.
func ParseVersion(s string) (Version, error) {
	s = strings.TrimSpace(s)
	m := versionRE.FindStringSubmatch(s)
	if m == nil {
		return Version{}, fmt.Errorf("node: %q is no version of nodeos", s[:min(len(s), 80)])
	}
	var v Version
	v.Major, _ = strconv.Atoi(m[1])
	v.Minor, _ = strconv.Atoi(m[2])
	v.Patch, _ = strconv.Atoi(m[3])
	var pre []string
	for part := range strings.SplitSeq(strings.TrimPrefix(m[4], "-"), "-") {
		switch {
		case commitRE.MatchString(part):
			v.Commit = part
		case part != "":
			pre = append(pre, part)
		}
	}
	v.Pre = strings.Join(pre, "-")
	return v, nil
}

// ReadVersion runs `path --full-version`, at most for ten seconds, in a process group of its own: what it leaves behind is killed, and
// what left the group is not waited for.
func ReadVersion(ctx context.Context, path string) (Version, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return Version{}, fmt.Errorf("node: %s --full-version: %w", path, err)
	}
	cmd := exec.Command(path, "--full-version") //nolint:noctx // its whole group is killed below
	cmd.Env = environment(nil)
	cmd.WaitDelay = time.Second
	var out bytes.Buffer // "nodeos started" goes to stderr
	cmd.Stdout = &out
	c, err := startChild(cmd)
	if err != nil {
		return Version{}, fmt.Errorf("node: %s --full-version: %w", path, err)
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		c.send(syscall.SIGKILL)
		<-c.done
	}
	switch {
	case c.code == 0:
		return ParseVersion(out.String())
	case ctx.Err() != nil:
		return Version{}, fmt.Errorf("node: %s --full-version: killed: %w", path, ctx.Err())
	}
	return Version{}, fmt.Errorf("node: %s --full-version: %s", path, exitOf(c))
}

// String is the tag: v1.2.2, or v1.3.0-rc1.
func (v Version) String() string {
	s := fmt.Sprintf("v%d.%d.%d", v.Major, v.Minor, v.Patch)
	if v.Pre != "" {
		s += "-" + v.Pre
	}
	return s
}

// Compare orders versions; a pre-release comes before its release, and commits do not count.
func (v Version) Compare(o Version) int {
	if c := cmp.Or(cmp.Compare(v.Major, o.Major), cmp.Compare(v.Minor, o.Minor), cmp.Compare(v.Patch, o.Patch)); c != 0 || v.Pre == o.Pre {
		return c
	}
	if v.Pre == "" || o.Pre == "" {
		return cmp.Compare(len(o.Pre), len(v.Pre))
	}
	return cmp.Compare(v.Pre, o.Pre)
}
