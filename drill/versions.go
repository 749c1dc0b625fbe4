package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// genesisTag is the version that every home begins with, whatever it is.
const genesisTag = "genesis"

// version is one of the two that every member has in its home, beside genesis.
type version struct {
	tag  string
	says string // what its binary says of itself
}

// layVersions puts two versions into every member's home: the nodeos that it has, and another one. Without
// Options.NodeosNext that is the stand-in again, which is told to call itself otherwise; a real nodeos can only be had again
// under another tag.
func (s *Sandbox) layVersions(ctx context.Context) error {
	says, err := versionOf(ctx, s.opts.Nodeos)
	if err != nil {
		return err
	}
	first := version{tag: says, says: says}
	next, binary, script := version{}, s.opts.NodeosNext, ""
	switch {
	case binary != "":
		if next.says, err = versionOf(ctx, binary); err != nil {
			return err
		}
		if next.tag = next.says; next.tag == first.tag {
			next.tag += "+next" // build metadata, which the binary need not say
		}
	case s.simulated():
		next.tag = nextTag(says)
		next.says = next.tag
		binary = standIn
		script = fmt.Sprintf("#!/bin/sh\nexec %s --sim-version %s \"$@\"\n", shellWord(s.opts.Nodeos), next.tag)
	default:
		next = version{tag: says + "+again", says: says}
		binary = s.opts.Nodeos
	}
	s.versions = []version{first, next}
	for _, m := range s.Members {
		if err := m.layVersion(first, s.opts.Nodeos, ""); err != nil {
			return err
		}
		if err := m.layVersion(next, binary, script); err != nil {
			return err
		}
	}
	return nil
}

// layVersion writes a version's folder, and its binary where it is a script.
func (m *Member) layVersion(v version, binary, script string) error {
	dir := filepath.Join(m.Home, "versions", v.tag)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	if script != "" {
		if err := os.WriteFile(filepath.Join(dir, binary), []byte(script), 0o700); err != nil { //nolint:gosec // a program
			return fmt.Errorf("drill: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "run.toml"), fmt.Appendf(nil, "name = %q\n\n[node]\nbinary = %q\n", v.tag, binary), 0o600); err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	return nil
}

// nextVersion is the first that a member does not run by its link.
func (s *Sandbox) nextVersion(m *Member) (version, error) {
	if len(s.versions) == 0 {
		return version{}, errors.New("drill: the sandbox was laid out without versions")
	}
	current, err := os.Readlink(filepath.Join(m.Home, "current"))
	if err != nil {
		return version{}, fmt.Errorf("drill: %w", err)
	}
	for _, v := range s.versions[1:] {
		if filepath.Base(current) != v.tag {
			return v, nil
		}
	}
	return s.versions[0], nil
}

// versionOf asks a nodeos for its version.
func versionOf(ctx context.Context, binary string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("drill: %s --version: %w", binary, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Runs reports that a member's running node says that it is not the version of a tag, or nil.
func (s *Sandbox) Runs(ctx context.Context, m *Member, tag string) error {
	var info struct {
		Version string `json:"server_version_string"`
	}
	if err := s.get(ctx, m.NodeHTTP()+"/v1/chain/get_info", &info); err != nil {
		return err
	}
	says := tag
	if i := slices.IndexFunc(s.versions, func(v version) bool { return v.tag == tag }); i >= 0 {
		says = s.versions[i].says
	}
	if info.Version != says && tag != genesisTag {
		return fmt.Errorf("drill: the node of %s says that it is %s, and not %s", m.ID, info.Version, says)
	}
	return nil
}

var lastNumber = regexp.MustCompile(`\d+$`)

// nextTag counts a version's last number up.
func nextTag(tag string) string {
	return lastNumber.ReplaceAllStringFunc(tag, func(digits string) string {
		n, _ := strconv.Atoi(digits)
		return strconv.Itoa(n + 1)
	})
}

// shellWord quotes a word for sh.
func shellWord(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
